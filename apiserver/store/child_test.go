package store_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/storetest"
)

// childVariable makes the test binary run as a server instead: its value is the
// member's configuration.
const childVariable = "STORE_TEST_MEMBER"

func TestMain(m *testing.M) {
	if config := os.Getenv(childVariable); config != "" {
		if err := serve(context.Background(), config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serve runs a member with a store and obeys lines on its standard input:
//
//	put NAME...   writes config maps in one transaction   → ok REVISION
//	get NAME      a consistent read                       → ok REVISION | none
//	leads         whether the member is the leader        → ok true | ok false
func serve(ctx context.Context, raw string) error {
	logger := slog.New(slog.DiscardHandler)
	config := etcd.Config{}
	if err := json.Unmarshal([]byte(raw), &config); err != nil {
		return err
	}
	config.Logger = logger
	m, err := etcd.Start(ctx, config)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{Backend: store.NewEtcd(m.Client()), Resources: storetest.Declare(), Logger: logger})
	if err != nil {
		return err
	}
	go func() {
		if err := s.Run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "put":
			var tx store.Txn
			for _, name := range words[1:] {
				tx.Writes = append(tx.Writes, storetest.Put(storetest.ConfigMap("shop", name, ""), 0))
			}
			report(s.Txn(ctx, tx))
		case "get":
			now, err := s.Current(ctx)
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			if e := now.Entry(storetest.Put(storetest.ConfigMap("shop", words[1], ""), 0).Ref); e != nil {
				fmt.Println("ok", e.Revision)
			} else {
				fmt.Println("none")
			}
		case "leads":
			fmt.Println("ok", m.Leads())
		}
	}
	return lines.Err()
}

func report(done *store.Done, err error) {
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("ok", done.Revision)
}

// child is a process that runs serve.
type child struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

// spawn starts a child; ready waits until it serves.
func spawn(t *testing.T, config etcd.Config) *child {
	t.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, command: exec.CommandContext(t.Context(), os.Args[0])}
	c.command.Env = append(os.Environ(), childVariable+"="+string(raw))
	c.command.Stderr = t.Output()
	if c.in, err = c.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *child) ready() *child {
	c.t.Helper()
	if !c.out.Scan() || c.out.Text() != "ready" {
		c.t.Fatalf("the child said %q", c.out.Text())
	}
	return c
}

func (c *child) send(format string, args ...any) {
	fmt.Fprintf(c.in, format+"\n", args...)
}

// ask sends a line and returns the answer.
func (c *child) ask(format string, args ...any) string {
	c.t.Helper()
	c.send(format, args...)
	if !c.out.Scan() {
		c.t.Fatalf("the child ended: %v", c.out.Err())
	}
	return c.out.Text()
}

// kill ends the child as a power cut would.
func (c *child) kill() {
	_ = c.command.Process.Kill() // it may have ended already
	_ = c.command.Wait()         // reports that it was killed
}
