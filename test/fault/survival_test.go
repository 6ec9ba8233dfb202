package fault_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// killsVariable is how many times something is killed; killsSeed repeats the
	// moments of a run.
	killsVariable, killsSeed = "HEADWAY_NODE_KILLS", "HEADWAY_NODE_KILLS_SEED"
	// usualKills are few: each costs a second.
	usualKills = 15
	// kills in a row before everything is looked at.
	killsInARow = 10
	// longestPause is between two kills: some come before what died is back.
	longestPause = 1500 * time.Millisecond
)

// survivors is a node whose server and agent are processes of their own, and
// are started again when they end.
type survivors struct {
	*node
	agent    *server
	random   *rand.Rand
	watching sync.WaitGroup
	over     chan struct{}
}

// TestContainersOutliveKills kills agent, server, containerd and log keeper at
// random moments below containers that write and others that end: none is
// restarted, no line is lost, no exit code.
func TestContainersOutliveKills(t *testing.T) {
	n := newSurvivors(t)
	writers := []*lines{{node: n.node, pod: "writer-0"}, {node: n.node, pod: "writer-1"}, {node: n.node, pod: "writer-2"}}
	var processes []int
	for _, w := range writers {
		n.run(w.pod, "tick", n.namespace+w.pod)
	}
	for _, w := range writers {
		n.running(w.pod)
		processes = append(processes, n.soon("tick", n.namespace+w.pod))
	}
	total, killed := n.wanted(), map[string]int{}
	for round := 0; round*killsInARow < total; round++ {
		ends := n.enders(round)
		at := map[string]time.Time{}
		for i := range min(killsInARow, total-round*killsInARow) {
			n.pause()
			killed[n.killOne()]++
			if i < len(ends) {
				n.pause()
				at[ends[i]] = time.Now()
				check(t, syscall.Kill(n.soon("exit", n.code(ends[i]), n.namespace+ends[i]), syscall.SIGUSR1))
			}
		}
		for name, when := range at {
			code, err := strconv.Atoi(n.code(name))
			check(t, err)
			n.terminated(name, int32(code), when)
			n.forget(name)
		}
		for i, w := range writers {
			w.goOn(t)
			if pid := n.pid("tick", n.namespace+w.pod); pid != processes[i] {
				t.Fatalf("%s is process %d, was %d", w.pod, pid, processes[i])
			}
			if s := n.status(w.pod); s.RestartCount != 0 || s.State.Running == nil {
				t.Fatalf("%s is %+v", w.pod, s)
			}
		}
		if (round+1)%10 == 0 {
			t.Logf("%d kills so far: %v", (round+1)*killsInARow, killed)
		}
	}
	written := 0
	for _, w := range writers {
		written += w.next
	}
	t.Logf("%d kills: %v; %d lines, none lost; %d containers ended with their codes told", total, killed, written, (total+killsInARow-1)/killsInARow*3)
}

func newSurvivors(t *testing.T) *survivors {
	t.Helper()
	n := &survivors{node: newNode(t), over: make(chan struct{})}
	seed, err := strconv.ParseUint(os.Getenv(killsSeed), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("%s=%d", killsSeed, seed)
	n.random = rand.New(rand.NewPCG(seed, 0))
	n.args = append(n.args, "--disable", "agent,gitsource")
	n.nodeDir = n.dir + "/n"
	n.start()
	n.ready()
	token, err := os.ReadFile(n.dir + "/token")
	check(t, err)
	n.agent = &server{t: t, dir: n.nodeDir, prefix: n.prefix, args: []string{"agent", "--server", fmt.Sprintf("https://%s:%d", nodeAddress, n.port),
		"--token", strings.TrimSpace(string(token)), "--data-dir", n.nodeDir, "--node-name", "n1", "--cgroup", n.namespace, "--gossip-port", fmt.Sprint(freePort(t))}}
	n.agent.start()
	for _, p := range []*server{n.server, n.agent} {
		n.watching.Go(func() { n.keep(p) })
	}
	t.Cleanup(func() {
		close(n.over)
		n.agent.kill()
		n.kill()
		n.watching.Wait()
		if t.Failed() {
			t.Logf("log of the agent:\n%s", tail(n.agent.logPath(), 60))
		}
	})
	n.load()
	return n
}

// keep starts a process again whenever it ends, until the test is over.
func (n *survivors) keep(p *server) {
	for {
		<-p.ended
		select {
		case <-n.over:
			return
		default:
			p.start()
		}
	}
}

// soon is pid, of a container that has only just been started.
func (n *survivors) soon(words ...string) int {
	n.t.Helper()
	eventually(n.t, "the process", func() string {
		if found := pids(append([]string{"/worker"}, append(words, "")...)...); len(found) != 1 {
			return fmt.Sprintf("%v is process %v", words, found)
		}
		return ""
	})
	return n.pid(words...)
}

func (n *survivors) wanted() int {
	total, err := strconv.Atoi(os.Getenv(killsVariable))
	if err != nil || total <= 0 {
		return usualKills
	}
	return total
}

func (n *survivors) pause() {
	<-time.After(time.Duration(n.random.Int64N(int64(longestPause))))
}

// killOne ends one of the processes that run containers, and tells which. One
// that is just not there is as good as killed.
func (n *survivors) killOne() string {
	kinds := []struct {
		name  string
		words []string
	}{
		{"agent", []string{binary, "agent", "--server"}},
		{"server", []string{binary, "server", "--data-dir", n.dir}},
		{"containerd", []string{"--config", n.nodeDir + "/containerd/config.toml"}},
		{"log keeper", []string{binary, "logkeeper"}},
	}
	k := kinds[n.random.IntN(len(kinds))]
	for _, pid := range pids(k.words...) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), n.dir) && !strings.HasPrefix(string(line), "nsenter") {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
		}
	}
	return k.name
}

// enders makes pods that end when they are told to, each with another code.
func (n *survivors) enders(round int) []string {
	n.t.Helper()
	var names []string
	for i := range 3 {
		name := fmt.Sprintf("ender-%d-%d", round, i)
		n.run(name, "exit", n.code(name), n.namespace+name)
		names = append(names, name)
	}
	for _, name := range names {
		n.running(name)
	}
	return names
}

// code is the exit code that a pod is to end with.
func (n *survivors) code(name string) string {
	words := strings.Split(name, "-")
	sum := 1
	for _, w := range words[1:] {
		k, err := strconv.Atoi(w)
		check(n.t, err)
		sum = sum*3 + k
	}
	return fmt.Sprint(1 + sum%100)
}

// forget deletes a pod; the server may just be away.
func (n *survivors) forget(name string) {
	n.t.Helper()
	eventually(n.t, "delete "+name, func() string {
		err := n.client.Delete(n.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
		if client.IgnoreNotFound(err) != nil {
			return err.Error()
		}
		return ""
	})
}
