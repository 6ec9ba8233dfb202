package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headway-sh/headway/test/bench/figure"
)

// settle is how long after its start a server counts as idle.
const settle = 10 * time.Second

// idle measures the memory of a server that has served nobody yet, as it is:
// nobody collects its garbage for it.
func (b *bench) idle(ctx context.Context) error {
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	total, anonymous, err := figure.Memory(b.server.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.report.Value("server alone, idle: RSS", figure.Megabytes(total), "255 MB + etcd 42 MB", "≤ 140 MB")
	b.report.Value("  of it anonymous", figure.Megabytes(anonymous), "", "≤ 70 MB")
	return nil
}

// memory measures what pods cost that are stored, in a server of its own that
// has done nothing else: after their creation, and once somebody has read them
// in both formats.
func (b *bench) memory(ctx context.Context) (err error) {
	of := *b
	of.created, of.profiles = false, false
	if of.server, err = of.start(ctx, "memory"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, of.server.End()) }()
	if err := of.prepare(ctx); err != nil {
		return err
	}
	_, before, err := of.server.Collected(ctx)
	if err != nil {
		return err
	}
	if _, err := of.createPods(ctx); err != nil {
		return err
	}
	if err := of.perPod(ctx, "memory per stored pod, after its creation", before, "60 KB in the API server alone", "≤ 18 KB"); err != nil {
		return err
	}
	c := of.server.client()
	defer c.CloseIdleConnections()
	for _, media := range []string{mediaJSON, mediaProtobuf} {
		if _, err := of.server.do(ctx, c, request{path: pods, media: media}); err != nil {
			return err
		}
	}
	return of.perPod(ctx, "  and after lists in JSON and protobuf", before, "", "≤ 18 KB")
}

func (b *bench) perPod(ctx context.Context, name string, before int64, reference, aim string) error {
	_, after, err := b.server.Collected(ctx)
	if err != nil {
		return err
	}
	b.report.Mean(name, fmt.Sprintf("%.1f KB", float64(after-before)*1024/1000/float64(b.options.pods)), b.options.pods, reference, aim)
	return nil
}
