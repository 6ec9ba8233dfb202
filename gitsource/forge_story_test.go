package gitsource_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/forge/forgetest"
)

// marks end the hidden marker of a comment.
var marks = regexp.MustCompile(` [0-9a-f]{16} -->`)

// startForge starts a forge of a kind, with its token in the Secret
// default/forge, and tells a source of it.
func (s *story) startForge(_ *testscript.TestScript, args []string) error {
	kind := v1alpha1.ForgeType(args[0])
	s.forge = forgetest.New(kind)
	s.t.Cleanup(s.forge.Close)
	s.do(admin, txn.Change{Verb: txn.Create, Ref: ref("secrets", "default/forge"), Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "forge"}, Data: map[string][]byte{"token": []byte(forgetest.Token + "\n")},
	}})
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"caBundle": s.forge.CA(), "forge": v1alpha1.ForgeSpec{
		Type: kind, URL: s.forge.URL(), Repository: forgetest.Repository, Statuses: true, Comments: true,
		SecretRef: v1alpha1.SecretReference{Namespace: "default", Name: "forge"},
	}}})
	if err != nil {
		return err
	}
	return s.patchSpec(nil, []string{sourceArg(args, 1), string(patch)})
}

// failForge has the next calls go wrong: "down", "spent" or "refuses".
func (s *story) failForge(_ *testscript.TestScript, args []string) error {
	s.forge.Fail(map[string]forgetest.Fault{
		"down":    {Status: http.StatusBadGateway},
		"spent":   {Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "600"}},
		"closed":  {Status: http.StatusUnauthorized, Body: `{"message":"Bad credentials"}`},
		"missing": {Status: http.StatusNotFound, Body: `{"message":"Not Found"}`},
		"refuses": {Status: http.StatusUnprocessableEntity},
	}[args[0]])
	s.forgeFailed = s.clock.Now()
	return nil
}

// wantStatus waits for the newest status of work's HEAD and prints all that
// were set on it. With a duration the clock goes on meanwhile, and the status
// must not come earlier after the last failure.
func (s *story) wantStatus(ts *testscript.TestScript, args []string) error {
	head := s.head()[:12]
	var own []string
	var wait time.Duration
	if len(args) > 1 {
		var err error
		if wait, err = time.ParseDuration(args[1]); err != nil {
			return err
		}
	}
	last := s.await(func() string {
		own = nil
		if wait > 0 {
			s.clock.Step(time.Second)
		}
		for _, line := range s.forge.Statuses() {
			if rest, ok := strings.CutPrefix(line, head+" "); ok {
				own = append(own, rest)
			}
		}
		if len(own) == 0 || !strings.Contains(own[len(own)-1], args[0]) {
			return fmt.Sprintf("statuses are %q", own)
		}
		return ""
	})
	fmt.Fprintln(ts.Stdout(), strings.Join(own, "\n"))
	if passed := s.clock.Since(s.forgeFailed); passed < wait {
		return fmt.Errorf("it came %s after the failure", passed)
	}
	return failure(last)
}

// wantComment waits for words in the only comment of a pull request and prints
// it.
func (s *story) wantComment(ts *testscript.TestScript, args []string) error {
	number, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var body string
	last := s.await(func() string {
		all := s.forge.Comments(number)
		if len(all) != 1 || !strings.Contains(all[0].Body, args[1]) {
			return fmt.Sprintf("comments are %+v", all)
		}
		body = all[0].Body
		return ""
	})
	fmt.Fprintln(ts.Stdout(), marks.ReplaceAllString(digest.ReplaceAllString(body, "Digest `...`"), " ... -->"))
	return failure(last)
}

func (s *story) wantCalls(_ *testscript.TestScript, args []string) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(s.metrics); err != nil {
		return err
	}
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "headway_forge_requests_total" && m.GetLabel()[0].GetValue() == args[0] && m.GetCounter().GetValue() > 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("no call was answered with %s", args[0])
}

// quietForge fails when the forge is called although nothing has happened.
func (s *story) quietForge(*testscript.TestScript, []string) error {
	calls := s.forge.Calls()
	for range 5 {
		s.clock.Step(time.Minute)
	}
	if n := s.forge.Calls(); n != calls {
		return fmt.Errorf("%d calls out of nothing", n-calls)
	}
	return nil
}
