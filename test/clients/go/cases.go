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

// Settings of a topic that is compacted soon, of which tombstones go at once.
var compactSettings = map[string]string{"cleanup.policy": "compact", "segment.bytes": "16384",
	"min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0"}

const toCompact = 1500

// The n-th of the records for a compacted topic; "" is a tombstone.
func compactRecord(n int) (key, value string) {
	key = fmt.Sprintf("k%d", n%7)
	if n >= 1000 {
		key = fmt.Sprintf("f%d", n%3)
	}
	if n < 993 || n >= 996 {
		value = fmt.Sprint(n) + strings.Repeat("x", 60)
	}
	return key, value
}

// Checks that what was read has the last value of each key; whether most of the rest is gone.
func compactedTo(keys, values []string) (bool, error) {
	last, found := map[string]string{}, map[string]string{}
	for n := 0; n < toCompact; n++ {
		key, value := compactRecord(n)
		last[key] = value
	}
	for i, key := range keys {
		found[key] = values[i]
	}
	for key, value := range last {
		if found[key] != value {
			return false, fmt.Errorf("%s: expected %.10s, got %.10s", key, value, found[key])
		}
	}
	return len(keys) < toCompact/2, nil
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
