// Package leader lets one of several servers run a singleton. A Lease says to
// everybody who it is and decides who tries next; what makes an old leader
// harmless is the epoch alone, which every transaction compares.
//
//	follow ──Lease free, released or silent──▶ take Lease ──▶ Acquire epoch ──▶ run f
//	  ▲                                                                         │
//	  └──────── f ended, epoch over, or Lease lost ◀────────────────────────────┘
//
// A server that is alone writes its Lease once and then nothing. As soon as it
// is not alone any more it renews; a newcomer waits a whole Duration before it
// believes a Lease to be silent, so that there is time for that.
package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
)

// How Leases are kept.
const (
	// Duration is how long a Lease is believed after it was last seen to change.
	Duration = 10 * time.Second
	// Renew is how often the holder writes it, when somebody reads it.
	Renew = 3 * time.Second
	// releaseTimeout bounds the last write of a holder that stops.
	releaseTimeout = time.Second
)

// Acquirer is the part of txn.Interface that begins epochs.
type Acquirer interface {
	Acquire(ctx context.Context, name string) (txn.Epoch, error)
}

// Config says who stands for what.
type Config struct {
	// Name is the singleton's, such as "kube-scheduler", and its Lease's in
	// kube-system.
	Name string
	// Identity names this server uniquely among all.
	Identity string
	DB       Acquirer
	Client   client.WithWatch
	// Alone tells whether this is the only server now; nil: it is not.
	Alone  func() bool
	Clock  clock.WithTicker
	Logger *slog.Logger
}

type campaign struct {
	Config
	seen  string    // resourceVersion of the Lease when it last changed
	since time.Time // and when that was
}

// Run runs f whenever this server leads, with the epoch that its transactions
// must carry, until ctx ends; then it returns nil after f has returned and the
// Lease is released. f must return soon after its context ends. An error of f
// other than the end of the epoch ends Run.
func Run(ctx context.Context, config Config, f func(ctx context.Context, epoch txn.Epoch) error) error {
	if config.Alone == nil {
		config.Alone = func() bool { return false }
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &campaign{Config: config}
	for ctx.Err() == nil {
		lease, err := c.win(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			c.Logger.Warn("campaign", "lease", c.Name, "err", err)
			c.pause(ctx, time.Second)
			continue
		}
		if err := c.lead(ctx, lease, f); err != nil {
			return err
		}
	}
	return nil
}

// win waits until the Lease can be taken, and takes it.
func (c *campaign) win(ctx context.Context) (*coordinationv1.Lease, error) {
	// The watch begins before the first look, so that no change is missed.
	watcher, err := c.Client.Watch(ctx, &coordinationv1.LeaseList{}, client.InNamespace(metav1.NamespaceSystem), client.MatchingFields{"metadata.name": c.Name})
	if err != nil {
		return nil, fmt.Errorf("watch lease: %w", err)
	}
	defer watcher.Stop()
	for {
		lease := &coordinationv1.Lease{}
		err := c.Client.Get(ctx, c.key(), lease)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read lease: %w", err)
		}
		left := c.left(lease)
		if err != nil || left <= 0 {
			taken, err := c.take(ctx, lease)
			if err == nil || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				return taken, err
			}
			left = Renew // somebody was quicker
		}
		timer := c.Clock.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case _, ok := <-watcher.ResultChan():
			timer.Stop()
			if !ok {
				return nil, errors.New("watch lease: ended")
			}
		case <-timer.C():
		}
	}
}

// left is how long the Lease still has to be believed.
func (c *campaign) left(l *coordinationv1.Lease) time.Duration {
	holder := ptr.Deref(l.Spec.HolderIdentity, "")
	if holder == "" || holder == c.Identity || c.Alone() {
		return 0
	}
	now := c.Clock.Now()
	if l.ResourceVersion != c.seen {
		c.seen, c.since = l.ResourceVersion, now
	}
	return c.since.Add(Duration).Sub(now)
}

func (c *campaign) take(ctx context.Context, l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	now := metav1.NewMicroTime(c.Clock.Now())
	if ptr.Deref(l.Spec.HolderIdentity, "") != c.Identity {
		l.Spec.LeaseTransitions = ptr.To(ptr.Deref(l.Spec.LeaseTransitions, -1) + 1)
	}
	l.Spec.HolderIdentity, l.Spec.AcquireTime, l.Spec.RenewTime = ptr.To(c.Identity), &now, &now
	l.Spec.LeaseDurationSeconds = ptr.To(int32(Duration / time.Second))
	if l.ResourceVersion == "" {
		l.Namespace, l.Name = metav1.NamespaceSystem, c.Name
		return l, c.Client.Create(ctx, l)
	}
	return l, c.Client.Update(ctx, l)
}

// lead runs f in a new epoch and keeps the Lease meanwhile.
func (c *campaign) lead(ctx context.Context, lease *coordinationv1.Lease, f func(context.Context, txn.Epoch) error) error {
	epoch, err := c.DB.Acquire(ctx, c.Name)
	if err != nil {
		c.release(ctx)
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("acquire epoch of %q: %w", c.Name, err)
	}
	leading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- f(leading, epoch) }()
	kept := make(chan bool, 1)
	go func() { kept <- c.keep(leading, lease) }()
	var held bool
	select {
	case err = <-done:
		stop()
		held = <-kept
	case held = <-kept:
		stop()
		err = <-done
	}
	if held {
		c.release(ctx)
	}
	if errors.Is(err, txn.ErrEpoch) {
		c.Logger.Warn("epoch is over", "name", c.Name, "epoch", epoch.Number)
		c.pause(ctx, time.Second)
		return nil
	}
	return err
}

// keep renews the Lease while others read it. It returns false when another
// server holds it or it could not be written for a Duration, and true when ctx
// ends.
func (c *campaign) keep(ctx context.Context, lease *coordinationv1.Lease) bool {
	ticker := c.Clock.NewTicker(Renew)
	defer ticker.Stop()
	last := c.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-ticker.C():
		}
		if c.Alone() {
			last = c.Clock.Now()
			continue
		}
		err := c.renew(ctx, lease)
		switch {
		case err == nil:
			last = c.Clock.Now()
		case ctx.Err() != nil:
			return true
		case errors.Is(err, errTaken):
			return false
		case c.Clock.Since(last) > Duration:
			c.Logger.Warn("lease cannot be renewed", "lease", c.Name, "err", err)
			return false
		}
	}
}

// errTaken says that another server holds the Lease.
var errTaken = errors.New("another server holds the lease")

func (c *campaign) renew(ctx context.Context, lease *coordinationv1.Lease) error {
	if err := c.Client.Get(ctx, c.key(), lease); err != nil {
		return err
	}
	if ptr.Deref(lease.Spec.HolderIdentity, "") != c.Identity {
		return errTaken
	}
	now := metav1.NewMicroTime(c.Clock.Now())
	lease.Spec.RenewTime = &now
	return c.Client.Update(ctx, lease)
}

// release hands the Lease over at once. It has a little time of its own,
// because it is called when ctx has ended.
func (c *campaign) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	lease := &coordinationv1.Lease{}
	err := c.Client.Get(ctx, c.key(), lease)
	if err == nil && ptr.Deref(lease.Spec.HolderIdentity, "") == c.Identity {
		lease.Spec.HolderIdentity = ptr.To("")
		err = c.Client.Update(ctx, lease)
	}
	if err != nil {
		c.Logger.Debug("release lease", "lease", c.Name, "err", err) // it runs out by itself
	}
}

func (c *campaign) key() client.ObjectKey {
	return client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: c.Name}
}

func (c *campaign) pause(ctx context.Context, d time.Duration) {
	timer := c.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	}
}
