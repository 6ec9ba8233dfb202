package clients_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// helm is an unmodified Helm, built from its own module, and what it runs
// against.
type helm struct {
	program    string
	kubeconfig string
	home       string
}

func newHelm(t *testing.T, kubeconfig string) *helm {
	t.Helper()
	h := &helm{program: filepath.Join(t.TempDir(), "helm"), kubeconfig: kubeconfig, home: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", h.program, "helm.sh/helm/v4/cmd/helm")
	build.Dir = "../../../hack/helm"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build helm: %v\n%s", err, out)
	}
	return h
}

// run gives what helm prints to standard output.
func (h *helm) run(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), h.program, append(args, "--namespace", "charts")...)
	c.Env = append(os.Environ(), "KUBECONFIG="+h.kubeconfig, "HOME="+h.home, "HELM_NO_PLUGINS=1")
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("helm %v: %v\n%s%s", args, err, out, errs.String())
	}
	if strings.Contains(strings.ToLower(errs.String()), "warning") {
		t.Errorf("helm %v warns: %s", args, errs.String())
	}
	return string(out)
}

// testHelm takes a chart through its life: install, upgrade, rollback and
// uninstall, and a dry run that the server answers.
func testHelm(t *testing.T, config *rest.Config, kubeconfig string) {
	const chart, name = "../../../examples/chart", "hi-greeter"
	h, api := newHelm(t, kubeconfig), clientset(t, config)

	out := h.run(t, "install", "hi", chart, "--create-namespace", "--set", "ingress.enabled=true", "--set", "autoscaling.enabled=true")
	if !strings.Contains(out, "STATUS: deployed") || !strings.Contains(out, "2 pods greet at service hi-greeter:80.") {
		t.Errorf("install prints:\n%s", out)
	}
	installed, password := deployed(t, api, name)
	if installed.Labels["app.kubernetes.io/managed-by"] != "Helm" || installed.Annotations["meta.helm.sh/release-name"] != "hi" {
		t.Errorf("labels %v, annotations %v", installed.Labels, installed.Annotations)
	}
	if _, err := api.AutoscalingV2().HorizontalPodAutoscalers("charts").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}

	if out := h.run(t, "upgrade", "hi", chart, "--dry-run=server", "--set", "greeting=never"); !strings.Contains(out, "greeting: \"never\"") {
		t.Errorf("a dry run prints:\n%s", out)
	}
	h.run(t, "upgrade", "hi", chart, "--set", "greeting=good evening")
	upgraded, kept := deployed(t, api, name)
	if kept != password {
		t.Error("the password that was looked up has changed")
	}
	if upgraded.Generation == installed.Generation || upgraded.UID != installed.UID {
		t.Errorf("generation %d → %d, uid %s → %s", installed.Generation, upgraded.Generation, installed.UID, upgraded.UID)
	}
	if _, err := api.AutoscalingV2().HorizontalPodAutoscalers("charts").Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what the chart has no more: %v", err)
	}

	h.run(t, "rollback", "hi", "1")
	back, err := api.CoreV1().ConfigMaps("charts").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || back.Data["greeting"] != "hello from a chart" {
		t.Errorf("after the rollback: %v, %v", back.Data, err)
	}
	var history []struct {
		Revision int    `json:"revision"`
		Status   string `json:"status"`
	}
	if err := json.Unmarshal([]byte(h.run(t, "history", "hi", "-o", "json")), &history); err != nil || len(history) != 3 || history[2].Status != "deployed" {
		t.Errorf("history %+v, %v", history, err)
	}

	h.run(t, "uninstall", "hi", "--wait")
	left, err := api.CoreV1().Services("charts").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("left behind: %v, %v", left.Items, err)
	}
}

func deployed(t *testing.T, api kubernetes.Interface, name string) (*appsv1.Deployment, string) {
	t.Helper()
	d, err := api.AppsV1().Deployments("charts").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var s *corev1.Secret
	if s, err = api.CoreV1().Secrets("charts").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	return d, string(s.Data["password"])
}
