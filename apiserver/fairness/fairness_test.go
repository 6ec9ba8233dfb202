package fairness_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fairness"
)

func view(objects ...txn.Object) txn.View {
	all := map[txn.Ref]txn.Object{}
	for _, o := range objects {
		resource := fairness.FlowSchemas
		if _, ok := o.(*flowcontrolv1.PriorityLevelConfiguration); ok {
			resource = fairness.PriorityLevels
		}
		all[txn.Ref{Resource: resource, Name: o.GetName()}] = o
	}
	return txn.Overlay(txn.Empty{}, all, nil)
}

// defaults are the objects that every cluster begins with.
func defaults() []txn.Object {
	var all []txn.Object
	for _, c := range fairness.Changes(txn.Empty{}) {
		all = append(all, c.Object)
	}
	return all
}

func newFairness(t testing.TB, seats int, objects ...txn.Object) *fairness.Fairness {
	t.Helper()
	f, err := fairness.New(fairness.Config{Seats: seats, Patience: 30 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Use(view(objects...)); err != nil {
		t.Fatal(err)
	}
	return f
}

func who(name string, groups ...string) txn.Identity {
	return txn.Identity{Name: name, Groups: append(groups, "system:authenticated")}
}

func TestRequestsFindTheDocumentedLevels(t *testing.T) {
	t.Parallel()
	f := newFairness(t, 0, defaults()...)
	lease := fairness.Request{Verb: "update", IsResource: true, Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system"}
	pods := fairness.Request{Verb: "list", IsResource: true, Resource: "pods"}
	for name, c := range map[string]struct {
		identity      txn.Identity
		request       fairness.Request
		schema, level string
	}{
		"masters":                {who("root", "system:masters"), pods, "exempt", "exempt"},
		"probes":                 {who("anybody"), fairness.Request{Verb: "get", Path: "/readyz"}, "probes", "exempt"},
		"scheduler's lease":      {who("system:kube-scheduler"), lease, "system-leader-election", "leader-election"},
		"scheduler":              {who("system:kube-scheduler"), pods, "kube-scheduler", "workload-high"},
		"node's lease":           {who("system:node:n", "system:nodes"), fairness.Request{Verb: "update", IsResource: true, Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease"}, "system-node-high", "node-high"},
		"node's status":          {who("system:node:n", "system:nodes"), fairness.Request{Verb: "patch", IsResource: true, Resource: "nodes", Subresource: "status"}, "system-node-high", "node-high"},
		"node":                   {who("system:node:n", "system:nodes"), pods, "system-nodes", "system"},
		"controller's account":   {who("system:serviceaccount:kube-system:job-controller", "system:serviceaccounts"), pods, "kube-system-service-accounts", "workload-high"},
		"application's account":  {who("system:serviceaccount:shop:web", "system:serviceaccounts"), pods, "service-accounts", "workload-low"},
		"person":                 {who("jane"), pods, "global-default", "global-default"},
		"person on another path": {who("jane"), fairness.Request{Verb: "get", Path: "/metrics"}, "global-default", "global-default"},
		"nobody":                 {txn.Identity{}, pods, "catch-all", "catch-all"},
	} {
		c.request.Identity = c.identity
		if schema, level := f.Place(&c.request); schema != c.schema || level != c.level {
			t.Errorf("%s: %s in %s, want %s in %s", name, schema, level, c.schema, c.level)
		}
	}
}

func TestRulesMatchWhatTheySay(t *testing.T) {
	t.Parallel()
	user := []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "jane"}}}
	resource := func(verbs, groups, resources, namespaces []string, cluster bool) *flowcontrolv1.FlowSchema {
		return schema("mine", "mine", 500, flowcontrolv1.PolicyRulesWithSubjects{Subjects: user,
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: verbs, APIGroups: groups, Resources: resources, Namespaces: namespaces, ClusterScope: cluster}}})
	}
	path := func(urls ...string) *flowcontrolv1.FlowSchema {
		return schema("mine", "mine", 500, flowcontrolv1.PolicyRulesWithSubjects{Subjects: user,
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: urls}}})
	}
	get := fairness.Request{Verb: "get", IsResource: true, Resource: "pods", Subresource: "log", Namespace: "shop"}
	all := []string{"*"}
	for name, c := range map[string]struct {
		schema  *flowcontrolv1.FlowSchema
		request fairness.Request
		want    bool
	}{
		"everything":            {resource(all, all, all, all, true), get, true},
		"subresource by name":   {resource(all, all, []string{"pods/log"}, all, true), get, true},
		"not its resource":      {resource(all, all, []string{"pods"}, all, true), get, false},
		"other verb":            {resource([]string{"list"}, all, all, all, true), get, false},
		"other group":           {resource(all, []string{"apps"}, all, all, true), get, false},
		"other namespace":       {resource(all, all, all, []string{"kube-system"}, true), get, false},
		"cluster only":          {resource(all, all, all, nil, true), get, false},
		"not cluster":           {resource(all, all, all, all, false), fairness.Request{Verb: "list", IsResource: true, Resource: "pods"}, false},
		"path":                  {path("/metrics"), fairness.Request{Verb: "get", Path: "/metrics"}, true},
		"path below":            {path("/metrics"), fairness.Request{Verb: "get", Path: "/metrics/slis"}, false},
		"pattern":               {path("/debug/*"), fairness.Request{Verb: "get", Path: "/debug/pprof"}, true},
		"pattern elsewhere":     {path("/debug/*"), fairness.Request{Verb: "get", Path: "/debugger"}, false},
		"resource rule, a path": {resource(all, all, all, all, true), fairness.Request{Verb: "get", Path: "/metrics"}, false},
	} {
		f := newFairness(t, 0, c.schema, level("mine", 10, nil))
		c.request.Identity = who("jane")
		if got, _ := f.Place(&c.request); (got == "mine") != c.want {
			t.Errorf("%s: taken by %s, want mine %v", name, got, c.want)
		}
		c.request.Identity = who("john")
		if got, _ := f.Place(&c.request); got == "mine" {
			t.Errorf("%s: somebody else's request is taken", name)
		}
	}
}

func schema(name, level string, precedence int32, rules ...flowcontrolv1.PolicyRulesWithSubjects) *flowcontrolv1.FlowSchema {
	return &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "schema-uid"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level}, MatchingPrecedence: precedence, Rules: rules,
		DistinguisherMethod: &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType}}}
}

func level(name string, shares int32, queuing *flowcontrolv1.QueuingConfiguration) *flowcontrolv1.PriorityLevelConfiguration {
	o := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "level-uid"}, Spec: limited(shares, 0, ptr.To[int32](0))}
	o.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}
	if queuing != nil {
		o.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: queuing}
	}
	return o
}

// everybody takes every request into one level.
func everybody(to string) *flowcontrolv1.FlowSchema {
	return schema("all", to, 2, flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: "*"}}},
		ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true}}})
}

func request(user string) *fairness.Request {
	return &fairness.Request{Identity: who(user), Verb: "get", IsResource: true, Resource: "pods", Namespace: "shop"}
}

func TestALevelThatRejectsIsNeverOverItsSeats(t *testing.T) {
	t.Parallel()
	f := newFairness(t, 10, everybody("small"), level("small", 5, nil)) // catch-all has the other 5 shares
	if seats := f.Seats("small"); seats != 5 {
		t.Fatalf("%d seats, want 5", seats)
	}
	hold, entered := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			header := http.Header{}
			err := f.Take(t.Context(), request("jane"), header, func(func()) error { entered <- struct{}{}; <-hold; return nil })
			if err != nil || header.Get("X-Kubernetes-PF-FlowSchema-UID") != "schema-uid" || header.Get("X-Kubernetes-PF-PriorityLevel-UID") != "level-uid" {
				t.Errorf("%v, header %v", err, header)
			}
		})
		<-entered
	}
	err := f.Take(t.Context(), request("john"), http.Header{}, func(func()) error { return errors.New("was let in") })
	if seconds, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !ok || seconds < 1 {
		t.Errorf("over the seats: %v", err)
	}
	if err := f.Take(t.Context(), &fairness.Request{Identity: who("root", "system:masters"), Verb: "get", Path: "/x"}, http.Header{}, func(func()) error { return nil }); err != nil {
		t.Errorf("the exempt: %v", err)
	}
	close(hold)
	group.Wait()
	sentinel := errors.New("the request's own")
	if err := f.Take(t.Context(), request("john"), http.Header{}, func(func()) error { return sentinel }); !errors.Is(err, sentinel) {
		t.Errorf("when there is room again: %v", err)
	}
}

// One user's flood waits behind itself: another user's request overtakes it.
func TestFlowsQueueBesideEachOther(t *testing.T) {
	t.Parallel()
	f := newFairness(t, 2, everybody("small"), level("small", 5, &flowcontrolv1.QueuingConfiguration{Queues: 64, HandSize: 1, QueueLengthLimit: 100}))
	hold, entered := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var order []string
	take := func(user string, do func()) {
		err := f.Take(t.Context(), request(user), http.Header{}, func(func()) error { do(); return nil })
		if err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	var group sync.WaitGroup
	group.Go(func() { take("flood", func() { close(entered); <-hold }) })
	<-entered
	note := func(user string) func() {
		return func() { mu.Lock(); defer mu.Unlock(); order = append(order, user) }
	}
	for range 50 {
		group.Go(func() { take("flood", note("flood")) })
	}
	f.AwaitWaiting(t.Context(), "small", 50)
	// One of several users has a queue of its own; which one has is the hash's.
	for _, user := range []string{"a", "b", "c", "d", "e", "f"} {
		group.Go(func() { take(user, note(user)) })
	}
	f.AwaitWaiting(t.Context(), "small", 56)
	close(hold)
	group.Wait()
	if first := slices.IndexFunc(order, func(u string) bool { return u != "flood" }); first > 10 {
		t.Errorf("the first other user was let in after %d of the flood", first)
	}
}

// Long lists fill their part of the level; somebody's small request does not
// wait for them.
func TestSmallRequestsDoNotWaitForLongLists(t *testing.T) {
	t.Parallel()
	f := newFairness(t, 80, everybody("small"), level("small", 5, &flowcontrolv1.QueuingConfiguration{Queues: 8, HandSize: 2, QueueLengthLimit: 100}))
	list := request("flood")
	list.Width = func(limit int) int { return limit }
	hold := make(chan struct{})
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := f.Take(t.Context(), list, http.Header{}, func(func()) error { <-hold; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	f.AwaitWaiting(t.Context(), "small", 40)
	for range 20 {
		if err := f.Take(t.Context(), request("jane"), http.Header{}, func(func()) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	close(hold)
	group.Wait()
}

func TestWhoWaitsTooLongIsToldToComeAgain(t *testing.T) {
	t.Parallel()
	f, err := fairness.New(fairness.Config{Seats: 2, Patience: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = f.Use(view(everybody("small"), level("small", 5, &flowcontrolv1.QueuingConfiguration{Queues: 1, HandSize: 1, QueueLengthLimit: 1})))
	}
	if err != nil {
		t.Fatal(err)
	}
	hold, entered, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- f.Take(t.Context(), request("jane"), http.Header{}, func(func()) error { close(entered); <-hold; return nil })
	}()
	<-entered
	if err := f.Take(t.Context(), request("john"), http.Header{}, func(func()) error { return nil }); !apierrors.IsTooManyRequests(err) {
		t.Errorf("waited too long: %v", err)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAWatchLeavesItsSeat(t *testing.T) {
	t.Parallel()
	f := newFairness(t, 2, everybody("small"), level("small", 5, nil))
	end, left, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	watch := request("jane")
	watch.Brief = true
	go func() {
		ended <- f.Take(t.Context(), watch, http.Header{}, func(leave func()) error { leave(); leave(); close(left); <-end; return nil })
	}()
	<-left
	f.AwaitIdle(t.Context(), "small")
	if err := f.Take(t.Context(), request("john"), http.Header{}, func(func()) error { return nil }); err != nil {
		t.Errorf("beside a watch: %v", err)
	}
	close(end)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSchemasWithoutALevelTakeNothing(t *testing.T) {
	t.Parallel()
	f := newFairness(t, 2, everybody("nowhere"))
	if got, _ := f.Place(request("jane")); got != "catch-all" {
		t.Errorf("taken by %s", got)
	}
	changes := f.Conditions(view(everybody("nowhere")))
	if len(changes) != 1 || changes[0].Object.(*flowcontrolv1.FlowSchema).Status.Conditions[0].Status != flowcontrolv1.ConditionTrue {
		t.Fatalf("conditions: %+v", changes)
	}
	told := changes[0].Object
	if changes := f.Conditions(view(told)); len(changes) != 0 {
		t.Errorf("told again: %+v", changes)
	}
	changes = f.Conditions(view(told, level("nowhere", 1, nil)))
	if len(changes) != 1 || changes[0].Object.(*flowcontrolv1.FlowSchema).Status.Conditions[0].Status != flowcontrolv1.ConditionFalse {
		t.Errorf("with the level: %+v", changes)
	}
}

func TestDefaultsAreKeptUp(t *testing.T) {
	t.Parallel()
	objects := defaults()
	if changes := fairness.Changes(view(objects...)); len(changes) != 0 {
		t.Errorf("what is there already is written again: %v", changes[0].Ref)
	}
	edit := func(name string, annotation string) (txn.View, txn.Ref) {
		all := defaults()
		for _, o := range all {
			if s, ok := o.(*flowcontrolv1.FlowSchema); ok && s.Name == name {
				s.Spec.MatchingPrecedence = 77
				s.Generation = 2
				s.Annotations = nil
				if annotation != "" {
					s.Annotations = map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: annotation}
				}
			}
		}
		return view(all...), txn.Ref{Resource: fairness.FlowSchemas, Name: name}
	}
	for name, c := range map[string]struct {
		schema, annotation string
		precedence         int32 // after the changes; 0: none
	}{
		"mandatory":                  {"catch-all", "false", 10000},
		"suggested":                  {"service-accounts", "true", 9000},
		"suggested, left alone":      {"service-accounts", "false", 0},
		"suggested, changed by hand": {"service-accounts", "", 77},
	} {
		v, ref := edit(c.schema, c.annotation)
		var got int32
		for _, change := range fairness.Changes(v) {
			if change.Ref != ref {
				t.Errorf("%s: %s is changed too", name, change.Ref)
			}
			got = change.Object.(*flowcontrolv1.FlowSchema).Spec.MatchingPrecedence
		}
		if got != c.precedence {
			t.Errorf("%s: precedence %d, want %d", name, got, c.precedence)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	f := newFairness(b, 0, defaults()...)
	r := request("jane")
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Take(context.Background(), r, http.Header{}, func(func()) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
