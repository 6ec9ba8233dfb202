package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/headway-sh/headway/test/bench/figure"
	"github.com/headway-sh/headway/test/bench/rig"
)

// settled waits until the server has done what the last step gave it to do.
func (c *cluster) settled(ctx context.Context) error { return rig.Settled(ctx, c.cmd.Process.Pid) }

// measureIdle watches a cluster in which nothing happens, with one Deployment
// running.
func measureIdle(ctx context.Context, b *bench) error {
	c, err := b.up(ctx)
	if err != nil {
		return err
	}
	if err := c.withDeployment(ctx); err != nil {
		return err
	}
	if err := wait(ctx, 30*time.Second); err != nil {
		return err
	}
	pid := c.cmd.Process.Pid
	before, err := figure.CPUTime(pid)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := wait(ctx, b.idle); err != nil {
		return err
	}
	after, err := figure.CPUTime(pid)
	if err != nil {
		return err
	}
	percent := 100 * float64(after-before) / float64(time.Since(began))
	if err := b.memories(c); err != nil {
		return err
	}
	b.report.Value("idle CPU of server + agent, of one core", fmt.Sprintf("%.2f %%", percent), "Kubernetes: 4.1 % + 1 % a node", "≤ 0.5 %")
	return b.fsyncs(ctx, pid)
}

func (c *cluster) withDeployment(ctx context.Context) error {
	w, err := watchPods(ctx, c.client)
	if err != nil {
		return err
	}
	defer w.Stop()
	_, err = c.deploy(ctx, w, "idle")
	return err
}

func (b *bench) memories(c *cluster) error {
	keeper, err := figure.Find("logkeeper", c.dir)
	if err != nil {
		return err
	}
	for _, one := range []struct {
		name, aim string
		pid       int
	}{
		{"resident, server + agent in one process", "≤ 180 MB", c.cmd.Process.Pid},
		{"resident, log keeper", "", keeper},
	} {
		total, anonymous, err := figure.Memory(one.pid)
		if err != nil {
			return err
		}
		reference := ""
		if one.aim != "" {
			reference = "Kubernetes 1.36: 524 + 146 MB"
		}
		b.report.Value(one.name, figure.Megabytes(total), reference, one.aim)
		b.report.Value("  of it anonymous", figure.Megabytes(anonymous), "", "")
	}
	return nil
}

// fsyncs counts by strace, apart from the CPU time that it would disturb.
func (b *bench) fsyncs(ctx context.Context, pid int) error {
	if _, err := exec.LookPath("strace"); err != nil {
		b.report.Value("idle fsyncs", "not counted: strace is not installed", "", "none")
		return nil
	}
	cmd := exec.Command("strace", "-f", "-c", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-p", strconv.Itoa(pid))
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	stopped := wait(ctx, b.idle)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	_ = cmd.Wait() // by the signal
	if stopped != nil {
		return stopped
	}
	count := 0
	for _, row := range regexp.MustCompile(`(?m)^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+).*(?:sync|sync_file_range)$`).FindAllStringSubmatch(said.String(), -1) {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			return err
		}
		count += n
	}
	b.report.Value(fmt.Sprintf("idle fsyncs in %v", b.idle), strconv.Itoa(count), "", "none")
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
