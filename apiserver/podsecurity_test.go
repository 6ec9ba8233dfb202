package apiserver_test

import (
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
)

// heard collects the warnings of a client.
type heard struct {
	mu    sync.Mutex // guards texts
	texts []string
}

func (h *heard) HandleWarningHeader(_ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
}

func TestPodSecurityOverHTTPS(t *testing.T) {
	t.Parallel()
	server := start(t)
	warnings := &heard{}
	config := asPerson(t, server, "admin", "system:masters")
	config.WarningHandler = warnings
	client, err := kubernetes.NewForConfig(config)
	check(t, err)
	inNamespace(t, client, "shop")
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	check(t, err)
	ns.Labels["pod-security.kubernetes.io/enforce"], ns.Labels["pod-security.kubernetes.io/warn"] = "baseline", "baseline"
	_, err = client.CoreV1().Namespaces().Update(t.Context(), ns, metav1.UpdateOptions{})
	check(t, err)

	labels := map[string]string{"app": "web"}
	spec := corev1.PodSpec{HostPID: true, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	_, err = client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: spec}, metav1.CreateOptions{})
	const violation = `violate PodSecurity "baseline:latest": host namespaces (hostPID=true)`
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)`) {
		t.Errorf("a pod that looks around: %v", err)
	}
	_, err = client.AppsV1().Deployments("shop").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}}}, metav1.CreateOptions{})
	check(t, err)
	if !strings.Contains(strings.Join(warnings.texts, "\n"), "would "+violation) {
		t.Errorf("warnings %q", warnings.texts)
	}
}

// A commit that labels a namespace and puts a pod into it is judged as a whole.
func TestPlansSeeTheirOwnLimits(t *testing.T) {
	t.Parallel()
	server := start(t)
	db := server.Peer(apiserver.Masters).Txn()
	view, err := db.View(t.Context())
	check(t, err)
	in := func(resource string, o txn.Object) txn.Change {
		return txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource(resource), Namespace: o.GetNamespace(), Name: o.GetName()}, Version: "v1", Object: o}
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	result, err := db.Plan(t.Context(), view, apiserver.Masters, []txn.Change{
		in("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}}),
		in("serviceaccounts", &corev1.ServiceAccount{ObjectMeta: named("default")}),
		in("resourcequotas", &corev1.ResourceQuota{ObjectMeta: named("few"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"configmaps": amount("2")}}}),
		in("configmaps", &corev1.ConfigMap{ObjectMeta: named("a")}),
		in("configmaps", &corev1.ConfigMap{ObjectMeta: named("b")}),
		in("configmaps", &corev1.ConfigMap{ObjectMeta: named("c")}),
		in("pods", &corev1.Pod{ObjectMeta: named("web"), Spec: corev1.PodSpec{HostPID: true, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}),
	})
	check(t, err)
	for i, want := range []string{"", "", "", "", "", "exceeded quota: few, requested: configmaps=1, used: configmaps=2, limited: configmaps=2", "violates PodSecurity"} {
		err := result.Outcomes[i].Err
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("change %d: %v, want %q", i, err, want)
		}
	}
}
