//go:build !newest

package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The older franz-go does not know groups whose members are assigned by the server.
var serverSideNames []string

func serverSide() []kgo.Opt { return nil }

func serverSideCheck(context.Context, *kgo.Client, string, int) error { return nil }
