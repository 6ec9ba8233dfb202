package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/store"
)

// bind ties a request that lasts to the certificate that it came with.
func (s *Server) bind(r *http.Request, by txn.Identity) (context.Context, func(), error) {
	return s.identify.Bind(func() txn.View { return s.store.Snapshot() }, r, by)
}

// recordsOfCertificates is the watch of the records of people's certificates and
// of removed nodes,
// whichever server changes them.
var recordsOfCertificates = store.WatchOptions{Resource: schema.GroupResource{Resource: "secrets"}, Namespace: metav1.NamespaceSystem}

// followCertificates ends what was opened with certificates that are taken
// back, until ctx ends.
func (s *Server) followCertificates(ctx context.Context) error {
	watcher, err := s.store.Watch(ctx, recordsOfCertificates)
	if err != nil {
		return fmt.Errorf("watch the records of certificates: %w", err)
	}
	s.serving.Go(func() error {
		for {
			err := s.unbind(ctx, watcher)
			watcher.Close()
			if !store.IsExpired(err) {
				return err
			}
			if watcher, err = s.store.Watch(ctx, recordsOfCertificates); err != nil {
				return fmt.Errorf("watch the records of certificates again: %w", err)
			}
			s.identify.Unbind(s.store.Snapshot(), "") // what was missed
		}
	})
	return nil
}

// unbind looks at what changes until the watch or ctx ends.
func (s *Server) unbind(ctx context.Context, watcher *store.Watcher) error {
	for {
		d, err := watcher.Next(ctx)
		if ctx.Err() != nil || errors.Is(err, store.ErrStopped) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range d.Events {
			if name := e.Entry.Ref.Name; e.Type != store.Added && authn.IsUserCertificate(name) || authn.IsRemovedNode(name) {
				s.identify.Unbind(s.store.Snapshot(), name)
			}
		}
	}
}
