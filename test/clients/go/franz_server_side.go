//go:build newest

package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Which of the balancers stand for an assignor of the server's.
var serverSideNames = []string{"range", "sticky"}

// Opts into groups whose members are assigned by the server (KIP-848).
func serverSide() []kgo.Opt { return []kgo.Opt{kgo.ServerSideBalancer()} }

// The group is of the new protocol and has so many members.
func serverSideCheck(ctx context.Context, client *kgo.Client, group string, members int) error {
	request := kmsg.NewPtrConsumerGroupDescribeRequest()
	request.Groups = []string{group}
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if g := answer.Groups[0]; g.ErrorCode != 0 || len(g.Members) != members {
		return fmt.Errorf("the group: error %d, %d members", g.ErrorCode, len(g.Members))
	}
	return nil
}
