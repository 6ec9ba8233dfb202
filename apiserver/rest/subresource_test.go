package rest_test

import (
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
)

// csrPEM is some signing request.
const csrPEM = `-----BEGIN CERTIFICATE REQUEST-----
MIHJMHECAQAwDzENMAsGA1UEAwwEbm9kZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABHmUkAeVtRJ2rvH8o7m6yaL2KrI3HWe+lI9HwflCDU5pHtf4r5JgnibB6uhP
WeZZmI3mt1J7Hzaky+xVu+SCcW6gADAKBggqhkjOPQQDAgNIADBFAiEA9TjhmGrb
W6nOpAh7YL+nYzltKpFUn9WaRUcxlSwhVNECIGsLCpJCBofYwPMNewL3ORQz7WGf
yOOuyCy6pVJRiMjt
-----END CERTIFICATE REQUEST-----
`

// issuer makes tokens that say whose they are.
type issuer struct{}

func (issuer) Issue(_ txn.View, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	out := request.DeepCopy()
	out.Status.Token = fmt.Sprintf("%s/%s for %v", namespace, name, request.Spec.Audiences)
	return out, nil
}

func TestSubresources(t *testing.T) {
	w := newWorld(t, func(c *rest.Config) { c.Issuer = issuer{} })
	w.namespace("shop")
	ctx, client := t.Context(), w.client("alice")

	pods := client.CoreV1().Pods("shop")
	_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	check(t, err)
	check(t, pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{}))
	bound, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1,status.phase!=Failed"})
	check(t, err)
	if len(bound.Items) != 1 {
		t.Errorf("bound to n1: %v", bound.Items)
	}
	if _, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.foo=n1"}); !apierrors.IsBadRequest(err) || err.Error() == "" {
		t.Errorf("unknown field: %v", err)
	}

	requests := client.CertificatesV1().CertificateSigningRequests()
	csr, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "node"},
		Spec: certificatesv1.CertificateSigningRequestSpec{Request: []byte(csrPEM), SignerName: "kubernetes.io/kube-apiserver-client",
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}}}, metav1.CreateOptions{})
	check(t, err)
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"})
	approved, err := requests.UpdateApproval(ctx, "node", csr, metav1.UpdateOptions{})
	check(t, err)
	if len(approved.Status.Conditions) != 1 {
		t.Errorf("approved %+v", approved.Status)
	}

	_, err = client.CoreV1().ServiceAccounts("shop").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	check(t, err)
	token, err := client.CoreV1().ServiceAccounts("shop").CreateToken(ctx, "robot",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"x"}}}, metav1.CreateOptions{})
	check(t, err)
	if token.Status.Token != "shop/robot for [x]" {
		t.Errorf("token %q", token.Status.Token)
	}
	if _, err := client.CoreV1().ServiceAccounts("shop").CreateToken(ctx, "nobody", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("token of nobody: %v", err)
	}
}
