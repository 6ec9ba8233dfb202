package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/internal/devnet"
	"github.com/headway-sh/headway/internal/pki"
)

// devCluster is a cluster of machines that are namespaces. What is written in
// its file is all that is kept: processes are found by their command lines.
type devCluster struct {
	dir string

	Prefix   netip.Prefix `json:"prefix"`
	Machines []devMachine `json:"machines"`
}

// devMachine is one server or node.
type devMachine struct {
	Name    string     `json:"name"`
	Server  bool       `json:"server"`
	Address netip.Addr `json:"address"`
	// Repo is what a server follows.
	Repo string `json:"repo,omitempty"`
	// PodCIDR and ServiceCIDR are a server's, empty: the defaults.
	PodCIDR     string `json:"podCIDR,omitempty"`
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
}

func newDev(dir string, prefix netip.Prefix) *devCluster {
	return &devCluster{dir: dir, Prefix: prefix.Masked()}
}

func loadDev(dir string) (*devCluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &devCluster{dir: dir}
	text, err := os.ReadFile(c.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s; start one with \"headway dev\"", dir)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read %s: %w", c.file(), err)
	}
	return c, nil
}

func (c *devCluster) file() string { return filepath.Join(c.dir, "dev.json") }

func (c *devCluster) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return pki.WriteFile(c.file(), append(text, '\n'), 0o600)
}

// id tells the clusters of one machine apart.
func (c *devCluster) id() string {
	sum := sha256.Sum256([]byte(c.dir))
	return hex.EncodeToString(sum[:3])
}

func (c *devCluster) network() devnet.Network {
	return devnet.Network{Dir: filepath.Join(c.dir, "netns"), HostLink: "hwd" + c.id(), Prefix: c.Prefix}
}

// cgroup is below which everything of a machine runs; of all, without name.
func (c *devCluster) cgroup(machine string) string {
	return filepath.Join("headway-dev-"+c.id(), machine)
}

// address is the nth of the range.
func (c *devCluster) address(n int) netip.Addr {
	a := c.Prefix.Addr().As4()
	a[3] += byte(n)
	return netip.AddrFrom4(a)
}

func (c *devCluster) machine(name string) (devMachine, error) {
	var names []string
	for _, m := range c.Machines {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return devMachine{}, fmt.Errorf("there is no machine %q (%s)", name, strings.Join(names, ", "))
}

func (c *devCluster) data(m devMachine) string { return filepath.Join(c.dir, m.Name) }

func (c *devCluster) server() devMachine {
	for _, m := range c.Machines {
		if m.Server {
			return m
		}
	}
	return devMachine{}
}

func (c *devCluster) kubeconfig() string { return filepath.Join(c.data(c.server()), adminConfig) }

// arguments are a machine's command line.
func (c *devCluster) arguments(m devMachine) []string {
	if m.Server {
		args := []string{"server", "--data-dir", c.data(m), "--bind-address", m.Address.String(), "--node-name", m.Name, "--disable", "agent,proxy"}
		if m.Repo != "" {
			args = append(args, "--repo", m.Repo)
		}
		if m.PodCIDR != "" {
			args = append(args, "--pod-cidr", m.PodCIDR)
		}
		if m.ServiceCIDR != "" {
			args = append(args, "--service-cidr", m.ServiceCIDR)
		}
		return args
	}
	return []string{"agent", "--data-dir", c.data(m), "--server", serverURL(c.server().Address, 6443),
		"--node-name", m.Name, "--node-ip", m.Address.String(), "--cgroup", c.cgroup(m.Name)}
}

// start starts a machine's process unless it runs. It outlives this one.
func (c *devCluster) start(ctx context.Context, m devMachine) error {
	if pid, err := c.pid(m); err != nil || pid != 0 {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.data(m), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(c.log(m), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, c.arguments(m)...) // must not end with ctx
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", os.Environ(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !m.Server {
		token, err := os.ReadFile(filepath.Join(c.data(c.server()), "token"))
		if err != nil {
			return fmt.Errorf("read the join token: %w", err)
		}
		cmd.Env = append(cmd.Env, "HEADWAY_TOKEN="+strings.TrimSpace(string(token)))
	}
	if err := c.network().Start(m.Name, cmd); err != nil {
		return err
	}
	return cmd.Process.Release()
}

func (c *devCluster) log(m devMachine) string { return filepath.Join(c.dir, m.Name+".log") }

// pid finds a machine's server or agent; 0: it does not run.
func (c *devCluster) pid(m devMachine) (int, error) {
	found := 0
	err := eachProcess(func(pid int, args []string) {
		if len(args) > 3 && (args[1] == "server" || args[1] == "agent") && args[2] == "--data-dir" && args[3] == c.data(m) {
			found = pid
		}
	})
	return found, err
}

func (c *devCluster) signal(m devMachine, signal unix.Signal) error {
	pid, err := c.pid(m)
	if err != nil {
		return err
	}
	if pid == 0 {
		return fmt.Errorf("%s does not run", m.Name)
	}
	return unix.Kill(pid, signal)
}

func (c *devCluster) kill(m devMachine) error  { return c.signal(m, unix.SIGKILL) }
func (c *devCluster) pause(m devMachine) error { return c.signal(m, unix.SIGSTOP) }

// cut cuts a machine off; in one direction only, "in" or "out", when one is given.
func (c *devCluster) cut(m devMachine, direction string) error {
	switch direction {
	case "":
		return c.network().Plug(m.Name, false)
	case "in":
		return c.network().Impair(m.Name, devnet.Impairment{In: 1})
	case "out":
		return c.network().Impair(m.Name, devnet.Impairment{Out: 1})
	}
	return fmt.Errorf("--one-way %s: in or out is possible", direction)
}

// lose makes a machine lose so many of a hundred packets, each way.
func (c *devCluster) lose(m devMachine, percent string) error {
	part, err := strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
	if err != nil || part < 0 || part > 100 {
		return fmt.Errorf("loss %s: 0 to 100 percent are possible", percent)
	}
	return c.network().Impair(m.Name, devnet.Impairment{In: part / 100, Out: part / 100})
}

func (c *devCluster) heal(m devMachine) error {
	if err := errors.Join(c.network().Plug(m.Name, true), c.network().Impair(m.Name, devnet.Impairment{})); err != nil {
		return err
	}
	if pid, err := c.pid(m); err != nil {
		return err
	} else if pid != 0 {
		return unix.Kill(pid, unix.SIGCONT)
	}
	return c.start(context.Background(), m)
}
