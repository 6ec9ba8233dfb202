package gitsource_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/gittest"
)

// serve puts the bare repository behind https and ssh.
func (s *story) serve(ts *testscript.TestScript, _ []string) error {
	s.server = gittest.New(s.t, s.dir)
	ts.Setenv("HTTPS", s.server.HTTPS("cluster.git"))
	ts.Setenv("SSH", s.server.SSH("cluster.git"))
	ts.Setenv("SECOND", s.server.HTTPS("second.git"))
	s.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: schema.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "git"},
		Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "git"}, Data: map[string][]byte{
			"token": []byte(gittest.Token), "ca.crt": s.server.CA, "identity": s.server.Identity, "known_hosts": s.server.KnownHosts,
		}}})
	return nil
}

func (s *story) breakServer(ts *testscript.TestScript, args []string) error {
	elsewhere := func() string {
		server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s.t.Errorf("%s was asked, with %q", r.Host, r.Header.Get("Authorization"))
		}))
		ts.Defer(server.Close)
		return server.URL
	}
	var fault gittest.Fault
	switch args[0] {
	case "mend":
	case "away":
		fault = gittest.Away
	case "readonly":
		fault = gittest.ReadOnly
	case "stall":
		fault = gittest.Stall
	case "flood":
		fault = gittest.RefFlood
	case "truncate":
		fault = gittest.Truncate(150)
	case "bomb":
		fault = gittest.Bomb(4<<30, 1<<20)
	case "redirect":
		fault = gittest.Redirect(elsewhere())
	case "empty":
		fault = gittest.Empty
	default:
		return fmt.Errorf("there is no fault %q", args[0])
	}
	s.server.Break(fault)
	return nil
}

// poll lets the clock go on until the server is asked for its references.
func (s *story) poll(*testscript.TestScript, []string) error {
	s.server.Requests()
	return failure(s.await(func() string {
		s.clock.Step(time.Minute)
		return s.fetched()
	}))
}

// fetched tells whether the server was asked by who fetches; a report is pushed
// meanwhile, at its own time.
func (s *story) fetched() string {
	for _, r := range s.server.Requests() {
		if r.Service == "git-upload-pack" {
			return ""
		}
	}
	return "nobody asks"
}

// asked lets at most half a minute pass until the server is asked.
func (s *story) asked(*testscript.TestScript, []string) error {
	s.server.Requests() // those before; the clock has not gone on since
	for range 30 {
		s.clock.Step(time.Second)
		if failure(s.awaitFor(500*time.Millisecond, s.fetched)) == nil {
			return nil
		}
	}
	return fmt.Errorf("nobody asks")
}

// reportIn prints a file of the report in the repository at a path below the
// story's directory once it has a pattern.
func (s *story) reportIn(ts *testscript.TestScript, args []string) error {
	var out string
	err := failure(s.await(func() string {
		var err error
		s.clock.Step(time.Second)
		out, err = s.tryGit(filepath.Join(s.dir, args[0]), "show", "headway/test:"+args[1])
		if err != nil || !strings.Contains(out, args[2]) {
			return out
		}
		return ""
	}))
	fmt.Fprintln(ts.Stdout(), out)
	return err
}

func (s *story) credit(_ *testscript.TestScript, args []string) error {
	_, err := s.store.Do(s.t.Context(), admin, txn.Change{
		Verb: txn.Patch, Ref: ref("gitsources.gitops.headway.sh", "main"), PatchType: types.MergePatchType,
		Patch: fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationPushed, s.head()+" "+args[0]),
	})
	return err
}

func (s *story) wantEvent(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.events {
			if strings.HasPrefix(e, sourceArg(args, 1)+" "+args[0]+" ") {
				return ""
			}
		}
		return fmt.Sprintf("the events are %q", s.events)
	}))
}
