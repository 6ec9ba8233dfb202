package fault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// binary is the program under test; set by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	logf.SetLogger(logr.Discard()) // or it complains at length that nobody has
	// Machines may have a proxy for the outside world; nothing here is outside.
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"} {
		os.Unsetenv(name)
	}
	if binary = os.Getenv("HEADWAY_BIN"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "headway-fault")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "headway")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/headway-sh/headway/cmd/headway").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience is how long a condition may take on a loaded machine.
const patience = 60 * time.Second

// eventually waits until ok says nothing.
func eventually(t testing.TB, what string, ok func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		last := ok()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, last)
		}
		<-tick.C
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is one `headway server` with a data directory that outlives restarts.
type server struct {
	t    testing.TB
	dir  string
	port int
	args []string
	// prefix runs the program inside something else, such as a namespace.
	prefix []string
	dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil: as usual

	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has ended
	client client.Client // the administrator's
	config *rest.Config
}

// newServer makes a server that is not started yet. Its log is shown when the
// test fails.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), port: freePort(t)}
	s.args = append([]string{"server", "--data-dir", s.dir, "--bind-address", "127.0.0.1", "--https-port", fmt.Sprint(s.port),
		"--gossip-port", fmt.Sprint(freePort(t)), "--log-level", "debug"}, args...)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of the server in %s:\n%s", s.dir, tail(s.logPath(), 60))
		}
	})
	return s
}

// controlPlane starts a server without node.
func controlPlane(t testing.TB, args ...string) *server {
	t.Helper()
	s := newServer(t, append([]string{"--disable", "agent"}, args...)...)
	s.start()
	s.ready()
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) logPath() string { return filepath.Join(s.dir, "..", filepath.Base(s.dir)+".log") }

// start starts the process, with environment variables such as failpoints.
func (s *server) start(env ...string) {
	s.t.Helper()
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(s.t, err)
	defer log.Close()
	line := append(append([]string{}, s.prefix...), append([]string{binary}, s.args...)...)
	s.cmd = exec.Command(line[0], line[1:]...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	check(s.t, s.cmd.Start())
	ended := make(chan struct{})
	s.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in ProcessState
	}(s.cmd)
}

// ready waits until the server answers, and connects.
func (s *server) ready() {
	s.t.Helper()
	eventually(s.t, "server ready", func() string {
		select {
		case <-s.ended:
			s.t.Fatalf("the server ended: %v", s.cmd.ProcessState)
		default:
		}
		return s.connect()
	})
}

// connect says what is missing for the server to be ready.
func (s *server) connect() string {
	path := filepath.Join(s.dir, "admin.kubeconfig")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "there is no kubeconfig yet"
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return err.Error()
	}
	config.QPS = -1
	config.Dial = s.dial
	config.Timeout = 20 * time.Second
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return err.Error()
	}
	answer, err := http.Get(config.Host + "/readyz")
	if err != nil {
		return err.Error()
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		return answer.Status
	}
	s.config = config
	if s.client, err = newClient(config); err != nil {
		return err.Error()
	}
	return ""
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// as is the administrator acting as somebody else.
func (s *server) as(user string, groups ...string) client.Client {
	s.t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	config.UserAgent = "fault-test"
	c, err := newClient(config)
	check(s.t, err)
	return c
}

// stop ends the server in good order.
func (s *server) stop() {
	s.t.Helper()
	check(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Fatalf("the server ended with %v", s.cmd.ProcessState)
	}
}

// kill ends it without warning.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.ended
}

// wait waits until the process has ended.
func (s *server) wait() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatal("the server does not end")
	}
}

// kubectl runs the kubectl in the program as the administrator.
func (s *server) kubectl(args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), binary, append([]string{"kubectl", "--kubeconfig", filepath.Join(s.dir, "admin.kubeconfig")}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimSpace(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// matches tells whether a file matches a regular expression.
func matches(path, pattern string) bool {
	b, err := os.ReadFile(path)
	return err == nil && regexp.MustCompile(pattern).Match(b)
}
