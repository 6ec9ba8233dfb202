package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestWhatIsDoneIsAudited(t *testing.T) {
	dir := t.TempDir()
	server, _ := startIn(t, dir, nil)
	config := asPerson(t, server, "jane")
	jane, err := kubernetes.NewForConfig(config)
	check(t, err)
	_, err = jane.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	if err == nil {
		t.Fatal("jane may list Secrets")
	}
	root := asPerson(t, server, "root", "system:masters")
	root.Impersonate = rest.ImpersonationConfig{UserName: "john", Groups: []string{"system:masters"}}
	john, err := kubernetes.NewForConfig(root)
	check(t, err)
	_, err = john.CoreV1().Secrets("default").Create(t.Context(), password("audited"), metav1.CreateOptions{})
	check(t, err)
	check(t, server.Peer(admin).Client().Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "in-process"}}))

	find := func(match func(*auditv1.Event) bool) *auditv1.Event {
		var found *auditv1.Event
		eventually(t, "an event", func(context.Context) (bool, error) {
			text, err := os.ReadFile(filepath.Join(dir, "audit", "audit.log"))
			if err != nil && !os.IsNotExist(err) {
				return false, err
			}
			if bytes.Contains(text, []byte("hunter-")) {
				t.Fatal("the log has a password in it")
			}
			for line := range bytes.Lines(text) {
				var e auditv1.Event
				if bytes.HasSuffix(line, []byte("\n")) && json.Unmarshal(line, &e) == nil && match(&e) {
					found = &e
					return true, nil
				}
			}
			return false, nil
		})
		return found
	}
	refused := find(func(e *auditv1.Event) bool { return e.User.Username == "jane" && e.Verb == "list" })
	if refused.ResponseStatus.Code != 403 || refused.Annotations["authorization.k8s.io/decision"] != "forbid" || refused.ObjectRef.Resource != "secrets" ||
		len(refused.SourceIPs) != 1 || refused.UserAgent == "" || refused.Stage != auditv1.StageResponseComplete {
		t.Errorf("the refusal: %+v", refused)
	}
	created := find(func(e *auditv1.Event) bool {
		return e.Verb == "create" && e.ObjectRef != nil && e.ObjectRef.Resource == "secrets"
	})
	if created.User.Username != "root" || created.ImpersonatedUser == nil || created.ImpersonatedUser.Username != "john" || created.ResponseStatus.Code != 201 ||
		created.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Errorf("the creation: %+v", created)
	}
	inside := find(func(e *auditv1.Event) bool { return e.ObjectRef != nil && e.ObjectRef.Name == "in-process" })
	if inside.User.Username != admin.Name || inside.Verb != "create" || len(inside.SourceIPs) != 0 {
		t.Errorf("the write in process: %+v", inside)
	}
}
