package fault_test

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// longestWrite is how long a write of a container may take: the machine may be
// busy, but nobody may keep it waiting while something restarts.
const longestWrite = 2 * time.Second

// TestContainersOutliveWhatRunsThem replaces server, agent and containerd,
// gently and by force, and the log keeper, below a container that writes 1 MB/s, one that is
// served by a Service, an open exec, and one that exits meanwhile.
func TestContainersOutliveWhatRunsThem(t *testing.T) {
	n := startNode(t)
	n.run("writer", "write", n.namespace)
	n.run("web", "serve", n.namespace)
	n.expose("web")
	const rounds = 5
	for i := range rounds {
		n.run(fmt.Sprintf("quitter-%d", i), "exit", fmt.Sprint(7+i), fmt.Sprintf("%s-%d", n.namespace, i))
	}
	for i := range rounds {
		n.running(fmt.Sprintf("quitter-%d", i))
	}
	n.running("writer")
	n.running("web")
	writer, web := n.pid("write", n.namespace), n.pid("serve", n.namespace)
	failures := n.probe("web")
	log := &lines{node: n}

	restartServer := func(end func()) func() {
		return func() {
			end()
			n.start()
			n.ready()
		}
	}
	killContainerd := func() { check(t, syscall.Kill(n.containerd(), syscall.SIGKILL)) }
	killKeeper := func() { check(t, syscall.Kill(n.logKeeper(), syscall.SIGKILL)) }
	for i, round := range [rounds]struct {
		name      string
		keepsExec bool
		silent    bool   // nobody writes the log before after
		before    func() // the quitter exits after it
		after     func()
	}{
		{"containerd is killed", true, false, killContainerd, func() {}},
		{"the server ends", false, false, n.stop, restartServer(func() {})},
		{"the server is killed", false, false, n.kill, restartServer(func() {})},
		{"the log keeper is killed", false, false, killKeeper, func() {}},
		{"all are killed", false, true, func() { n.kill(); killContainerd(); killKeeper() }, restartServer(func() {})},
	} {
		t.Run(round.name, func(t *testing.T) {
			exec := n.exec("writer", "echo", n.namespace)
			exec.says(t, "before")
			log.check(t)
			round.before()
			at := time.Now()
			check(t, syscall.Kill(n.pid("exit", fmt.Sprint(7+i), fmt.Sprintf("%s-%d", n.namespace, i)), syscall.SIGUSR1))
			if !round.silent {
				log.goOn(t)
			}
			if round.keepsExec {
				exec.says(t, "meanwhile")
			}
			round.after()
			n.terminated(fmt.Sprintf("quitter-%d", i), int32(7+i), at)
			exec.close()
			log.goOn(t)
			if w, s := n.pid("write", n.namespace), n.pid("serve", n.namespace); w != writer || s != web {
				t.Errorf("the containers are processes %d and %d, were %d and %d", w, s, writer, web)
			}
			eventually(t, "execs end", func() string {
				if left := pids("/worker", "echo", n.namespace); len(left) > 0 {
					return fmt.Sprintf("%v are left", left)
				}
				return ""
			})
		})
	}
	exec := n.exec("writer", "echo", n.namespace)
	exec.says(t, "after all")
	exec.close()
	for _, name := range []string{"writer", "web"} {
		if s := n.status(name); s.RestartCount != 0 || s.State.Running == nil {
			t.Errorf("%s is %+v", name, s)
		}
	}
	if got := failures(); got != "" {
		t.Errorf("the Service did not answer always:\n%s", got)
	}
}

// run makes a pod of one container.
func (n *node) run(name string, args ...string) {
	n.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{
			{Name: "c", Image: workerImage, ImagePullPolicy: corev1.PullNever, Args: args}}}}
	eventually(n.t, "create pod "+name, func() string {
		if err := n.client.Create(n.t.Context(), pod); err != nil {
			return err.Error() // the service account may not be there yet
		}
		return ""
	})
}

func (n *node) status(name string) corev1.ContainerStatus {
	var pod corev1.Pod
	if err := n.client.Get(n.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &pod); err != nil || len(pod.Status.ContainerStatuses) == 0 {
		return corev1.ContainerStatus{Name: fmt.Sprint(err), State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: string(pod.Status.Phase)}}}
	}
	return pod.Status.ContainerStatuses[0]
}

func (n *node) running(name string) {
	n.t.Helper()
	eventually(n.t, "pod "+name, func() string {
		if s := n.status(name); s.State.Running == nil || !s.Ready {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
}

// terminated waits until it is told how and when a container ended.
func (n *node) terminated(name string, code int32, at time.Time) {
	n.t.Helper()
	eventually(n.t, "the end of "+name, func() string {
		s := n.status(name).State.Terminated
		if s == nil {
			return fmt.Sprintf("%+v", n.status(name))
		}
		// The API's times are whole seconds.
		if off := s.FinishedAt.Sub(at); s.ExitCode != code || off < -time.Second || off > 2*time.Second {
			n.t.Fatalf("%s has ended with %d, %s after it was told to; want %d", name, s.ExitCode, off, code)
		}
		return ""
	})
}

// pid is the process id of the one container with a command line.
func (n *node) pid(words ...string) int {
	n.t.Helper()
	found := pids(append([]string{"/worker"}, append(words, "")...)...)
	if len(found) != 1 {
		n.t.Fatalf("%v is process %v", words, found)
	}
	return found[0]
}

func (n *node) expose(name string) {
	n.t.Helper()
	check(n.t, n.client.Create(n.t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}))
}

// probe asks a Service without pause once it answers; what it returns ends
// that and tells the failures.
func (n *node) probe(name string) (failures func() string) {
	n.t.Helper()
	var service corev1.Service
	check(n.t, n.client.Get(n.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &service))
	url := "http://" + service.Spec.ClusterIP
	eventually(n.t, "the Service", func() string {
		short := n.inside("timeout", "1", n.worker, "probe", url)
		if out, err := short.Output(); err == nil || strings.Contains(string(out), "failed") || !strings.Contains(string(out), "asked") {
			return string(out)
		}
		return ""
	})
	cmd := n.inside(n.worker, "probe", url)
	var out bytes.Buffer
	cmd.Stdout = &out
	check(n.t, cmd.Start())
	return func() string {
		check(n.t, cmd.Process.Signal(syscall.SIGTERM))
		check(n.t, cmd.Wait())
		said := strings.TrimSpace(out.String())
		n.t.Log(said[strings.LastIndex(said, "\n")+1:])
		if strings.HasPrefix(said, "asked") {
			return ""
		}
		return said
	}
}

// conversation is an open exec.
type conversation struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *bytes.Buffer
}

func (n *node) exec(pod string, args ...string) *conversation {
	n.t.Helper()
	c := &conversation{cmd: n.inside(append([]string{binary, "kubectl", "exec", "-i", pod, "--", "/worker"}, args...)...), err: &bytes.Buffer{}}
	c.cmd.Stderr = c.err
	var err error
	c.in, err = c.cmd.StdinPipe()
	check(n.t, err)
	out, err := c.cmd.StdoutPipe()
	check(n.t, err)
	c.out = bufio.NewReader(out)
	check(n.t, c.cmd.Start())
	return c
}

// says sends a line and wants it back.
func (c *conversation) says(t *testing.T, line string) {
	t.Helper()
	back := make(chan string, 1)
	go func() {
		_, _ = io.WriteString(c.in, line+"\n") // the answer tells
		got, err := c.out.ReadString('\n')
		if err != nil {
			got = err.Error()
		}
		back <- strings.TrimSpace(got)
	}()
	select {
	case got := <-back:
		if got != line {
			t.Fatalf("exec: got %q back for %q: %s", got, line, c.err)
		}
	case <-time.After(patience):
		t.Fatalf("exec: no answer to %q: %s", line, c.err)
	}
}

func (c *conversation) close() {
	_ = c.in.Close()
	_ = c.cmd.Wait() // a server that went away has ended it already
}

// lines are the writer's, read from its log files as they grow.
type lines struct {
	node *node
	pod  string // default: writer
	next int    // the number of the first line that was not seen yet
}

// check reads on: every number comes once and in order, and no write has taken
// long.
func (l *lines) check(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.node.nodeDir, "agent", "logs", "*_"+cmp.Or(l.pod, "writer")+"_*", "c", "*.log*"))
	check(t, err)
	// The current file is 0.log, older ones carry the time of their end.
	slices.SortFunc(files, func(a, b string) int {
		if strings.HasSuffix(a, ".log") != strings.HasSuffix(b, ".log") {
			if strings.HasSuffix(a, ".log") {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	if len(files) == 0 {
		t.Fatal("the writer has no log")
	}
	expect := -1
	for _, name := range files {
		content, err := os.ReadFile(name)
		check(t, err)
		for _, line := range strings.SplitAfter(string(content), "\n") {
			f := strings.Fields(line)
			if !strings.HasSuffix(line, "\n") || len(f) < 5 {
				continue // not written whole yet
			}
			number, err := strconv.Atoi(f[3])
			check(t, err)
			longest, err := strconv.Atoi(f[4])
			check(t, err)
			switch {
			case expect >= 0 && number != expect, expect < 0 && number > l.next:
				t.Fatalf("%s: line %d comes where %d should: lines are lost or out of order", name, number, max(expect, l.next))
			case time.Duration(longest)*time.Millisecond > longestWrite:
				t.Fatalf("a write has taken %d ms", longest)
			}
			expect = number + 1
		}
	}
	l.next = max(l.next, expect)
}

// goOn waits until half a second's worth of lines has come.
func (l *lines) goOn(t *testing.T) {
	t.Helper()
	l.check(t)
	goal := l.next + 500
	eventually(t, "the writer writes on", func() string {
		if l.check(t); l.next < goal {
			return fmt.Sprintf("is at line %d", l.next)
		}
		return ""
	})
}
