package emulator_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		rt := emulator.New(clock.RealClock{})
		rt.Commands = map[string]emulator.Program{
			"sh": shell, "tail": emulator.OOMAfter(0), "cat": copyInput,
			"sleep": func(ctx context.Context, p *emulator.Process) int {
				return emulator.ExitAfter(time.Minute, 0)(ctx, p)
			},
		}
		t.Cleanup(rt.Close)
		if _, err := rt.Import(t.Context(), bytes.NewReader(runtimetest.Archive(t, ""))); err != nil {
			t.Fatal(err)
		}
		return runtimetest.Subject{Runtime: rt, Reopen: func(*testing.T) runtime.Interface { return rt }}
	})
}

func copyInput(_ context.Context, p *emulator.Process) int {
	if _, err := io.Copy(p.Stdout, p.Stdin); err != nil {
		return 1
	}
	return 0
}

// shell knows as much of a shell as the suite's scripts need.
func shell(ctx context.Context, p *emulator.Process) int {
	end := emulator.Forever()
	for _, line := range strings.Split(p.Args[2], ";") {
		words := strings.Fields(line)
		out := p.Stdout
		if words[len(words)-1] == ">&2" {
			words, out = words[:len(words)-1], p.Stderr
		}
		switch words[0] {
		case "exit":
			code, err := strconv.Atoi(words[1])
			if err != nil {
				return 2
			}
			return code
		case "cat":
			return copyInput(ctx, p)
		case "while":
			return end(ctx, p)
		case "trap":
			if words[1] == "''" {
				end = emulator.Stubborn()
			}
		default:
			fmt.Fprintln(out, say(p, words))
		}
	}
	return 0
}

func say(p *emulator.Process, words []string) string {
	switch strings.Join(words, " ") {
	case "hostname":
		return p.Hostname
	case "id -u", "id -g":
		return "1000"
	case "id -G":
		return "1000 2000"
	case "pwd":
		return p.Config.WorkingDir
	}
	for i, word := range words {
		if name, ok := strings.CutPrefix(word, "$"); ok {
			words[i] = ""
			if name == "HOSTNAME" {
				words[i] = p.Hostname
			}
			for _, pair := range p.Env {
				if value, ok := strings.CutPrefix(pair, name+"="); ok {
					words[i] = value
				}
			}
		}
	}
	return strings.Join(words[1:], " ")
}
