// Cases of the Go clients. usage: clients franz-go|sarama BOOTSTRAP [MECHANISM]
package main

import (
	"fmt"
	"os"
	"runtime/debug"
)

// How clients log in, and as whom: run.py makes this user. Empty = they do not.
var mechanism = ""

const (
	user     = "alice"
	password = "secret"
)

// The version of a module that this program was built with.
func version(path string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: clients franz-go|sarama BOOTSTRAP [MECHANISM]")
		os.Exit(2)
	}
	if len(os.Args) > 3 {
		mechanism = os.Args[3]
	}
	failed := 0
	switch os.Args[1] {
	case "franz-go":
		fmt.Println("client franz-go", version("github.com/twmb/franz-go"), mechanism)
		failed = runCases("franz-go", franzCases(os.Args[2]))
	case "sarama":
		fmt.Println("client sarama", version("github.com/IBM/sarama"), mechanism)
		failed = runCases("sarama", saramaCases(os.Args[2]))
	default:
		fmt.Fprintf(os.Stderr, "no client %q: franz-go or sarama\n", os.Args[1])
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}
