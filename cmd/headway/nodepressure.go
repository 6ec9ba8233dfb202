package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent"
	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/imagegc"
	"github.com/headway-sh/headway/nodeagent/node"
)

// pressure is a node as the evictor sees it.
type pressure struct {
	*nodeagent.Agent
	dataDir  string
	images   *imagegc.Collector
	self     *node.Node
	recorder record.EventRecorder
	about    *corev1.ObjectReference
}

var _ eviction.Node = (*pressure)(nil)

// Observe implements eviction.Node.
func (p *pressure) Observe(context.Context) (eviction.Observations, error) {
	m, err := node.ReadMachine(p.dataDir)
	if err != nil {
		return nil, err
	}
	return eviction.Observations{
		eviction.MemoryAvailable: {Available: m.MemoryAvailable, Capacity: m.MemoryTotal},
		eviction.NodeAvailable:   {Available: m.Disk.Available, Capacity: m.Disk.Total},
		eviction.NodeInodes:      {Available: m.Disk.InodesFree, Capacity: m.Disk.Inodes},
		eviction.ImageAvailable:  {Available: m.Images.Available, Capacity: m.Images.Total},
		eviction.ImageInodes:     {Available: m.Images.InodesFree, Capacity: m.Images.Inodes},
		eviction.PIDAvailable:    {Available: m.PidsMax - m.Pids, Capacity: m.PidsMax},
	}, nil
}

// Pods implements eviction.Node.
func (p *pressure) Pods() []*corev1.Pod { return p.Holding() }

// ReclaimImages implements eviction.Node.
func (p *pressure) ReclaimImages(ctx context.Context, loaded bool) error {
	return p.images.Reclaim(ctx, loaded)
}

// Evict implements eviction.Node.
func (p *pressure) Evict(uid types.UID, message string, grace time.Duration) {
	p.Agent.Evict(uid, eviction.Reason, message, grace)
}

// Told implements eviction.Node.
func (p *pressure) Told(conditions bool, met *eviction.Threshold) {
	if conditions {
		p.self.Changed()
	}
	if met != nil {
		p.recorder.Eventf(p.about, corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", met.Signal.Resource())
	}
}

// upkeep makes what keeps a node from running out of things.
func (n *nodeProcess) upkeep(p *pressure, images imagegc.Images, held *eviction.Conditions) ([]component, error) {
	p.about = &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.name, UID: types.UID(n.name)}
	p.dataDir = n.dataDir
	var err error
	p.images, err = imagegc.New(imagegc.Config{
		Policy: n.flags.images, Images: images, InUse: p.ImagesInUse,
		Disk: func() (imagegc.Disk, error) {
			m, err := node.ReadMachine(n.dataDir)
			return imagegc.Disk{Available: m.Images.Available, Capacity: m.Images.Total}, err
		},
		Removed: p.self.Changed,
		Failed: func(message string) {
			n.log.Warn("the disk is full of images that pods use", "err", message)
			p.recorder.Event(p.about, corev1.EventTypeWarning, "FreeDiskSpaceFailed", message)
		},
		Clock: clock.RealClock{}, Logger: n.log,
	})
	if err != nil {
		return nil, err
	}
	evictor, err := eviction.New(eviction.Config{
		Node: p, Conditions: held, Thresholds: n.flags.thresholds, Transition: n.flags.evictionTransition, MaxGrace: time.Duration(n.flags.evictionMaxGrace) * time.Second,
		Clock: clock.RealClock{}, Logger: n.log,
	})
	if err != nil {
		return nil, err
	}
	return []component{{"image collector", p.images.Run}, {"evictor", evictor.Run}}, nil
}
