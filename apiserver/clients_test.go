package apiserver_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/headway-sh/headway/apiserver"
)

// adminClient is client-go with an administrator's certificate.
func adminClient(t *testing.T, server *apiserver.Server) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(asPerson(t, server, "admin", "system:masters"))
	check(t, err)
	return client
}

// inNamespace makes a namespace with the account that its pods run as.
func inNamespace(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	check(t, err)
	_, err = client.CoreV1().ServiceAccounts(name).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	check(t, err)
}

func amount(text string) resource.Quantity { return resource.MustParse(text) }
