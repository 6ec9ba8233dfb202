package gitsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/notify"
)

// What bounds notifications of a source: those that wait, those that are known
// to have been sent, and the tries and pauses of one.
const (
	maxNotices    = 64
	keptNotices   = 100
	noticeTries   = 6
	noticePause   = time.Second
	noticeGrace   = 5 * time.Second // of a try that the source's end finds under way
	notifiedNotes = "notified/"
)

// notice is a message for one of a source's notifications.
type notice struct {
	to  v1alpha1.Notification
	key string // by which it is sent once
	notify.Message
}

// notifier sends a source's notices beside its goroutine, so that nobody waits
// for those who hear of it. What was sent is noted in the cluster: after a
// restart it is not sent again, and what was not sent is found again in the
// status.
type notifier struct {
	source *source
	wake   chan struct{}
	sender *notify.Sender

	mu    sync.Mutex // guards all below
	queue []notice
	known map[string]bool // queued, sent or given up
	sent  []string        // newest last
}

func newNotifier(s *source) *notifier {
	return &notifier{source: s, wake: make(chan struct{}, 1), sender: notify.NewSender(nil), known: map[string]bool{}}
}

// load learns what was sent before.
func (n *notifier) load(ctx context.Context) error {
	notes, err := n.source.engine.cfg.Txn.Notes(ctx, notifiedNotes+n.source.name)
	if err != nil {
		return fmt.Errorf("read what was notified: %w", err)
	}
	for _, note := range notes {
		if note.Key != notifiedNotes+n.source.name {
			continue
		}
		if err := json.Unmarshal(note.Value, &n.sent); err != nil {
			return fmt.Errorf("read what was notified: %w", err)
		}
	}
	for _, key := range n.sent {
		n.known[key] = true
	}
	return nil
}

// publish queues what the source has to tell and has not told. It does not
// block; when too much waits, the oldest is dropped.
func (n *notifier) publish(s *source) {
	if len(s.object.Spec.Notifications) == 0 {
		return
	}
	happened := s.happened()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, to := range s.object.Spec.Notifications {
		for _, h := range append(happened, s.driftFor(&to)...) {
			key := to.Name + " " + string(h.event) + " " + h.key
			if !to.Tells(h.event) || n.known[key] {
				continue
			}
			m, concerns := s.message(&h).Narrow(h.about(), to.Objects)
			if !concerns {
				continue
			}
			n.known[key] = true
			if n.queue = append(n.queue, notice{to, key, m}); len(n.queue) > maxNotices {
				n.queue = n.queue[1:]
				s.engine.cfg.Metrics.notified("dropped")
			}
			poke(n.wake)
		}
	}
}

// run sends until the context ends, one after the other.
func (n *notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		for {
			n.mu.Lock()
			if len(n.queue) == 0 {
				n.mu.Unlock()
				break
			}
			next := n.queue[0]
			n.queue = n.queue[1:]
			n.mu.Unlock()
			if !n.deliver(ctx, next) {
				return
			}
		}
	}
}

// deliver tries until it succeeds, or too often; false says that the context
// has ended.
func (n *notifier) deliver(ctx context.Context, one notice) bool {
	cfg := &n.source.engine.cfg
	pause := noticePause
	for try := 1; ; try++ {
		// What somebody may have heard already is waited for, and noted, also
		// while the source is being stopped: else he would hear of it again.
		begun, end := outliving(ctx, noticeGrace)
		err := n.try(begun, one)
		if err == nil {
			cfg.Metrics.notified("sent")
			err := n.note(begun, one.key)
			end()
			if err != nil {
				n.source.log.Warn("a notification may be sent again", "notification", one.to.Name, "error", err)
			}
			return ctx.Err() == nil
		}
		end()
		if ctx.Err() != nil {
			return false
		}
		if try == noticeTries {
			cfg.Metrics.notified("failed")
			n.source.log.Warn("a notification was given up", "notification", one.to.Name, "event", one.Event, "error", err)
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-cfg.Clock.After(pause):
		}
		pause *= 2
	}
}

// outliving is a context that ends some time after another one.
func outliving(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace) // of the network, whose time is not the clock's
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}

func (n *notifier) try(ctx context.Context, one notice) error {
	view, err := n.source.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	ref := one.to.SecretRef
	o, _ := view.Get(txn.Ref{Resource: secrets, Namespace: ref.Namespace, Name: ref.Name})
	secret, ok := o.(*corev1.Secret)
	if !ok || len(secret.Data["url"]) == 0 {
		return errors.New("there is no Secret " + ref.Namespace + "/" + ref.Name + ` with the key "url"`)
	}
	return n.sender.Send(ctx, notify.Target{Type: one.to.Type, URL: string(secret.Data["url"]), Key: secret.Data["key"]}, one.Message)
}

// note writes down that something was sent.
func (n *notifier) note(ctx context.Context, key string) error {
	n.mu.Lock()
	n.sent = append(n.sent, key)
	if len(n.sent) > keptNotices {
		for _, old := range n.sent[:len(n.sent)-keptNotices] {
			delete(n.known, old) // as after a restart
		}
		n.sent = slices.Delete(n.sent, 0, len(n.sent)-keptNotices)
	}
	value, err := json.Marshal(n.sent)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	e := n.source.engine
	_, _, err = txn.Run(ctx, e.cfg.Txn, e.cfg.Identity, txn.CommitOptions{Epoch: e.applier.Epoch, Notes: []txn.Note{{Key: notifiedNotes + n.source.name, Value: value}}},
		func(txn.View) ([]txn.Change, error) { return nil, nil })
	return err
}
