package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headway-sh/headway/apiserver/rest"
)

// checkPatience is how long a check waits for etcd, as Kubernetes does.
const checkPatience = 2 * time.Second

// checks are the named conditions of this server's health, under Kubernetes'
// names where it has them. Each watches something that can be otherwise.
func (s *Server) checks() []rest.Check {
	return slices.Concat([]rest.Check{
		{Name: "log", Live: true, Check: s.checkLog},
		{Name: "etcd", Live: true, Check: s.checkEtcd},
		{Name: "etcd-readiness", Check: s.checkEtcd},
		{Name: "informer-sync", Check: s.checkCache},
		{Name: "poststarthook/rbac/bootstrap-roles", Live: true, Check: s.checkBootstrap},
	}, s.config.Checks, []rest.Check{{Name: "shutdown", Check: s.checkShutdown}})
}

// checkLog fails while nobody takes events off the audit log's buffer as fast as
// they come.
func (s *Server) checkLog(context.Context) error {
	if s.audit.Full() {
		return errors.New("the audit log's buffer is full")
	}
	return nil
}

// checkEtcd reads linearizably: there is a quorum, and it answers.
func (s *Server) checkEtcd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if _, err := s.member.Client().Get(ctx, "/registry/health"); err != nil {
		return fmt.Errorf("read from etcd: %w", err)
	}
	return nil
}

// checkCache fails when what is in memory does not reach what etcd has.
func (s *Server) checkCache(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if _, err := s.store.Current(ctx); err != nil {
		return fmt.Errorf("catch up with etcd: %w", err)
	}
	return nil
}

// checkBootstrap fails until what every cluster begins with is written.
func (s *Server) checkBootstrap(context.Context) error {
	if !s.bootstrapped.Load() {
		return errors.New("not finished")
	}
	return nil
}

func (s *Server) checkShutdown(context.Context) error {
	if s.stopping.Load() {
		return errors.New("process is shutting down")
	}
	return nil
}

// announceStop lets /readyz tell for a while that the server is about to stop,
// unless a part fails meanwhile.
func (s *Server) announceStop(failed, memberFailed chan error) {
	s.stopping.Store(true)
	if s.config.ShutdownDelay <= 0 {
		return
	}
	timer := s.config.Clock.NewTimer(s.config.ShutdownDelay)
	defer timer.Stop()
	select {
	case <-timer.C():
	case err := <-failed:
		failed <- err
	case err := <-memberFailed:
		memberFailed <- err
	}
}
