package gitsource_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
)

// may says where a service account may write from now on; "-" stands for
// objects without namespace. Accounts that it was not said of may nothing.
func (s *story) may(_ *testscript.TestScript, args []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rights == nil {
		s.rights = map[string][]string{}
		s.store.Reject(s.authorize)
	}
	s.rights["system:serviceaccount:"+args[0]] = args[1:]
	return nil
}

// authorize is the API server's part of it, in its words.
func (s *story) authorize(who txn.Identity, c txn.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	where, scope := c.Ref.Namespace, fmt.Sprintf("in the namespace %q", c.Ref.Namespace)
	if where == "" {
		where, scope = "-", "at the cluster scope"
	}
	if !strings.HasPrefix(who.Name, "system:serviceaccount:") || slices.Contains(s.rights[who.Name], where) {
		return nil
	}
	verb := c.Verb
	if verb == txn.Apply {
		verb = txn.Patch
	}
	return apierrors.NewForbidden(c.Ref.Resource, c.Ref.Name, fmt.Errorf("User %q cannot %s resource %q in API group %q %s",
		who.Name, verb, c.Ref.Resource.Resource, c.Ref.Resource.Group, scope))
}
