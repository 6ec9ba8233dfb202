package apiserver_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
)

func bindRole(t *testing.T, server *apiserver.Server, user, role string) {
	t.Helper()
	check(t, server.Peer(admin).Client().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(user+"-"+role, ":", "-")},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}))
}

func component(name string) txn.Identity {
	return txn.Identity{Name: name, Groups: []string{"system:authenticated"}}
}

// TestComponentsCannotWhatTheirRolesLack: in process nobody is more than his
// role. Each identity is tried at what it must not do.
func TestComponentsCannotWhatTheirRolesLack(t *testing.T) {
	server := start(t)
	owner := server.Peer(admin).Client()
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name}
	}
	check(t, owner.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta("default")}))
	check(t, owner.Create(t.Context(), &corev1.Secret{ObjectMeta: meta("password")}))
	check(t, owner.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta("settings")}))
	check(t, owner.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	check(t, owner.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}))
	check(t, owner.Create(t.Context(), &corev1.Pod{ObjectMeta: meta("p"), Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}))

	readSecret := func(c client.Client) error {
		return c.Get(t.Context(), client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "password"}, &corev1.Secret{})
	}
	listSecrets := func(c client.Client) error { return c.List(t.Context(), &corev1.SecretList{}) }
	createPod := func(c client.Client) error {
		return c.Create(t.Context(), &corev1.Pod{ObjectMeta: meta("mine"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
	}
	deleteNode := func(c client.Client) error {
		return c.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	}
	becomeAdmin := func(c client.Client) error {
		return c.Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "mine"},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}})
	}
	bind := func(c client.Client) error {
		pod := &corev1.Pod{ObjectMeta: meta("p")}
		return c.SubResource("binding").Create(t.Context(), pod, &corev1.Binding{ObjectMeta: meta("p"), Target: corev1.ObjectReference{Kind: "Node", Name: "n2"}})
	}
	writeConfigMap := func(c client.Client) error {
		return c.Update(t.Context(), &corev1.ConfigMap{ObjectMeta: meta("settings"), Data: map[string]string{"k": "v"}})
	}
	foreignNode := func(c client.Client) error {
		return c.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"x":"y"}}}`)))
	}
	evict := func(c client.Client) error {
		return c.Delete(t.Context(), &corev1.Pod{ObjectMeta: meta("p")}, &client.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	}
	controller := func(name string) txn.Identity { return authn.ServiceAccount("kube-system", name) }
	for name, c := range map[string]struct {
		identity txn.Identity
		denied   map[string]func(client.Client) error
	}{
		"scheduler": {component("system:kube-scheduler"), map[string]func(client.Client) error{
			"read a Secret": readSecret, "list Secrets": listSecrets, "create a pod": createPod, "delete a node": deleteNode, "write a ConfigMap": writeConfigMap, "become administrator": becomeAdmin}},
		"controller manager": {component("system:kube-controller-manager"), map[string]func(client.Client) error{
			"create a pod": createPod, "bind": bind, "delete a node": deleteNode, "delete a pod": evict, "write a ConfigMap": writeConfigMap, "become administrator": becomeAdmin}},
		"proxy": {component("system:kube-proxy"), map[string]func(client.Client) error{
			"read a Secret": readSecret, "create a pod": createPod, "bind": bind, "delete a pod": evict, "become administrator": becomeAdmin}},
		"deployment controller": {controller("deployment-controller"), map[string]func(client.Client) error{
			"read a Secret": readSecret, "create a pod": createPod, "bind": bind, "delete a node": deleteNode, "become administrator": becomeAdmin}},
		"replica set controller": {controller("replicaset-controller"), map[string]func(client.Client) error{
			"read a Secret": readSecret, "bind": bind, "delete a node": deleteNode, "become administrator": becomeAdmin}},
		"namespace controller": {controller("namespace-controller"), map[string]func(client.Client) error{
			"create a pod": createPod, "bind": bind, "write a ConfigMap": writeConfigMap, "become administrator": becomeAdmin}},
		"node of another pod": {txn.Identity{Name: "system:node:n2", Groups: []string{"system:nodes", "system:authenticated"}}, map[string]func(client.Client) error{
			"read a Secret": readSecret, "list Secrets": listSecrets, "write another node": foreignNode, "delete another node's pod": evict, "bind": bind, "become administrator": becomeAdmin}},
		"stranger": {component("jane"), map[string]func(client.Client) error{
			"read a Secret": readSecret, "list Secrets": listSecrets, "create a pod": createPod, "bind": bind, "delete a node": deleteNode, "delete a pod": evict, "write a ConfigMap": writeConfigMap, "become administrator": becomeAdmin}},
	} {
		t.Run(name, func(t *testing.T) {
			own := server.Peer(c.identity).Client()
			for what, do := range c.denied {
				if err := do(own); !apierrors.IsForbidden(err) {
					t.Errorf("%s may %s: %v, want it forbidden", c.identity.Name, what, err)
				}
			}
		})
	}
}
