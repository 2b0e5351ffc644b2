package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"time"
)

const caseSecondsMax = 60

// One named case; the context ends after caseSecondsMax.
type testCase struct {
	name string
	run  func(ctx context.Context) error
}

// Runs the cases one after the other and prints a line for each: "ok NAME" or "FAILED NAME: why".
// Returns how many failed.
func runCases(prefix string, cases []testCase) int {
	failed := 0
	for _, c := range cases {
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), caseSecondsMax*time.Second)
		done := make(chan error, 1)
		go func() {
			defer func() {
				if r := recover(); r != nil {
					done <- fmt.Errorf("panic: %v", r)
				}
			}()
			done <- c.run(ctx)
		}()
		var err error
		select {
		case err = <-done:
		case <-time.After((caseSecondsMax + 5) * time.Second):
			err = fmt.Errorf("not done after %d s", caseSecondsMax)
		}
		cancel()
		if err != nil {
			failed++
			text := strings.ReplaceAll(err.Error(), "\n", " ")
			fmt.Printf("FAILED %s.%s: %s\n", prefix, c.name, text)
		} else {
			fmt.Printf("ok %s.%s (%d ms)\n", prefix, c.name, time.Since(start).Milliseconds())
		}
	}
	return failed
}

var random = rand.New(rand.NewSource(time.Now().UnixNano() ^ int64(os.Getpid())))

func fresh(what string) string {
	return fmt.Sprintf("%s-%012x", what, random.Int63n(1<<48))
}

func equal(expected, actual interface{}, what string) error {
	if fmt.Sprint(expected) != fmt.Sprint(actual) {
		return fmt.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
	return nil
}

// The first error of several.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Asks again every 50 ms until the condition holds or the context ends.
func eventually(ctx context.Context, what string, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not in time", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// "0" .. "n-1", sorted as text.
func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	sort.Strings(all)
	return all
}

func sorted(values []string) []string {
	list := append([]string(nil), values...)
	sort.Strings(list)
	return list
}
