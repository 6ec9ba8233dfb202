package apiserver_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

func eventually(t *testing.T, what string, condition func(ctx context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 20*time.Second, true, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestFlowControlObjectsAreInForce(t *testing.T) {
	server := start(t)
	root, err := kubernetes.NewForConfig(asPerson(t, server, "root", "system:masters"))
	check(t, err)
	flow, ctx := root.FlowcontrolV1(), t.Context()
	// A level without seats of its own that refuses, for one person's ConfigMaps.
	_, err = flow.FlowSchemas().Create(ctx, &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "closed"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "closed"}, MatchingPrecedence: 100,
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "jane"}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, Namespaces: []string{"*"}}}}},
	}}, metav1.CreateOptions{})
	check(t, err)
	dangling := func(want flowcontrolv1.ConditionStatus) {
		t.Helper()
		eventually(t, "the schema's condition", func(ctx context.Context) (bool, error) {
			s, err := flow.FlowSchemas().Get(ctx, "closed", metav1.GetOptions{})
			return err == nil && len(s.Status.Conditions) == 1 && s.Status.Conditions[0].Status == want, err
		})
	}
	dangling(flowcontrolv1.ConditionTrue)
	level, err := flow.PriorityLevelConfigurations().Create(ctx, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "closed"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: ptr.To[int32](0), BorrowingLimitPercent: ptr.To[int32](0), LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}}}, metav1.CreateOptions{})
	check(t, err)
	dangling(flowcontrolv1.ConditionFalse)

	jane := asPerson(t, server, "jane")
	jane.WrapTransport = nil
	client, err := rest.HTTPClientFor(jane)
	check(t, err)
	get := func(path string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, jane.Host+path, nil)
		check(t, err)
		answer, err := client.Do(r)
		check(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		check(t, err)
		check(t, answer.Body.Close())
		return answer
	}
	eventually(t, "the closed level", func(context.Context) (bool, error) {
		return get("/api/v1/namespaces/default/configmaps").StatusCode == http.StatusTooManyRequests, nil
	})
	refused := get("/api/v1/namespaces/default/configmaps")
	if refused.Header.Get("Retry-After") == "" || refused.Header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) != string(level.UID) {
		t.Errorf("refused with %v", refused.Header)
	}
	if other := get("/api/v1/namespaces/default/secrets"); other.StatusCode != http.StatusForbidden || other.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) == "" {
		t.Errorf("another request: %d, %v", other.StatusCode, other.Header)
	}
	if dump := get("/debug/api_priority_and_fairness/dump_priority_levels"); dump.StatusCode != http.StatusForbidden {
		t.Errorf("jane's dump: %d", dump.StatusCode)
	}
	text, err := root.CoreV1().RESTClient().Get().AbsPath("/debug/api_priority_and_fairness/dump_priority_levels").DoRaw(ctx)
	if err != nil || !strings.Contains(string(text), "closed, ") {
		t.Errorf("the dump: %v\n%s", err, text)
	}
}

func TestMandatoryFlowControlObjectsComeBack(t *testing.T) {
	server := start(t)
	root, err := kubernetes.NewForConfig(asPerson(t, server, "root", "system:masters"))
	check(t, err)
	flow, ctx := root.FlowcontrolV1(), t.Context()
	before, err := flow.FlowSchemas().Get(ctx, "catch-all", metav1.GetOptions{})
	check(t, err)
	check(t, flow.FlowSchemas().Delete(ctx, "catch-all", metav1.DeleteOptions{}))
	eventually(t, "catch-all", func(ctx context.Context) (bool, error) {
		after, err := flow.FlowSchemas().Get(ctx, "catch-all", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && after.UID != before.UID && after.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] == "true", err
	})
	levels, err := flow.PriorityLevelConfigurations().List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(levels.Items) != 8 {
		t.Errorf("%d priority levels, want Kubernetes' 8", len(levels.Items))
	}
}
