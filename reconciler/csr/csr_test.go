package csr_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/csr"
)

// stamp signs with its name, so that the test sees who signed.
type stamp struct{}

func (stamp) Sign(_ context.Context, signer string, r *x509.CertificateRequest, _ []certificatesv1.KeyUsage, _ time.Duration) ([]byte, error) {
	return []byte(signer + " " + r.Subject.CommonName), nil
}

func request(t *testing.T, template x509.CertificateRequest) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestSettle(t *testing.T) {
	t.Parallel()
	const clientSigner, servingSigner = certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName
	node := pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}
	lost := pkix.Name{CommonName: "system:node:lost", Organization: []string{"system:nodes"}}
	bootstrap := []string{"system:bootstrappers", "system:authenticated"}
	itself := []string{"system:nodes", "system:authenticated"}
	tests := []struct {
		name, signer, user string
		groups             []string
		subject            pkix.Name
		ips                []net.IP
		usage              certificatesv1.KeyUsage
		alive              bool
		want               string
	}{
		{"joins", clientSigner, "system:bootstrap:abc", bootstrap, node, nil, certificatesv1.UsageClientAuth, false, "Approved"},
		{"joins under a living name", clientSigner, "system:bootstrap:abc", bootstrap, node, nil, certificatesv1.UsageClientAuth, true, "Denied"},
		{"joins under a lost node's name", clientSigner, "system:bootstrap:abc", bootstrap, lost, nil, certificatesv1.UsageClientAuth, false, "Denied"},
		{"joins by the use of a token", clientSigner, "system:bootstrap:abc", append([]string{"system:bootstrappers:headway:admitted:n1"}, bootstrap...), node, nil, certificatesv1.UsageClientAuth, false, "Approved"},
		{"joins by another's use of a token", clientSigner, "system:bootstrap:abc", append([]string{"system:bootstrappers:headway:admitted:n2"}, bootstrap...), node, nil, certificatesv1.UsageClientAuth, false, "Denied"},
		{"renews", clientSigner, "system:node:n1", itself, node, nil, certificatesv1.UsageClientAuth, true, "Approved"},
		{"another node's name", clientSigner, "system:node:n2", itself, node, nil, certificatesv1.UsageClientAuth, false, ""},
		{"masters", clientSigner, "system:bootstrap:abc", bootstrap, pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:masters"}}, nil, certificatesv1.UsageClientAuth, false, "Denied"},
		{"not a node", clientSigner, "system:bootstrap:abc", bootstrap, pkix.Name{CommonName: "admin", Organization: []string{"system:nodes"}}, nil, certificatesv1.UsageClientAuth, false, "Denied"},
		{"serves its own address", servingSigner, "system:node:n1", itself, node, []net.IP{net.IPv4(10, 0, 0, 1)}, certificatesv1.UsageServerAuth, true, "Approved"},
		{"serves another's address", servingSigner, "system:node:n1", itself, node, []net.IP{net.IPv4(10, 43, 0, 1)}, certificatesv1.UsageServerAuth, true, "Denied"},
		{"serving asked by a bootstrapper", servingSigner, "system:bootstrap:abc", bootstrap, node, []net.IP{net.IPv4(10, 0, 0, 1)}, certificatesv1.UsageServerAuth, false, "Denied"},
		{"client usage from the serving signer", servingSigner, "system:node:n1", itself, node, []net.IP{net.IPv4(10, 0, 0, 1)}, certificatesv1.UsageClientAuth, true, "Denied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			api := fakecluster.New(clk,
				&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}}},
				&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "lost"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{MachineID: "m"}}},
				&certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{
					SignerName: test.signer, Username: test.user, Groups: test.groups, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, test.usage},
					Request: request(t, x509.CertificateRequest{Subject: test.subject, IPAddresses: test.ips})}})
			r := &csr.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}, Signer: stamp{}, Alive: func(string) bool { return test.alive }}
			for range 3 {
				if _, err := r.Reconcile(t.Context(), controller.Named("", "r")); err != nil {
					t.Fatal(err)
				}
			}
			c := &certificatesv1.CertificateSigningRequest{}
			if err := api.Get(t.Context(), client.ObjectKey{Name: "r"}, c); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, condition := range c.Status.Conditions {
				got += string(condition.Type)
			}
			certificate := ""
			if test.want == "Approved" {
				certificate = test.signer + " system:node:n1"
			}
			if diff := cmp.Diff([]string{test.want, certificate}, []string{got, string(c.Status.Certificate)}); diff != "" {
				t.Errorf("conditions and certificate (-want +got):\n%s\n%+v", diff, c.Status.Conditions)
			}
		})
	}
}

func TestApprovedNonsenseIsNotSigned(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	approved := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"},
		Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages:  []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
			Request: request(t, x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}})},
		Status: certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}}}
	api := fakecluster.New(clk, approved)
	r := &csr.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}, Signer: stamp{}}
	if _, err := r.Reconcile(t.Context(), controller.Named("", "r")); err != nil {
		t.Fatal(err)
	}
	c := &certificatesv1.CertificateSigningRequest{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: "r"}, c); err != nil {
		t.Fatal(err)
	}
	if len(c.Status.Certificate) > 0 || len(c.Status.Conditions) != 2 || c.Status.Conditions[1].Type != certificatesv1.CertificateFailed {
		t.Errorf("status %+v", c.Status)
	}
}

func TestClientsAreSignedOnceAPersonApproved(t *testing.T) {
	t.Parallel()
	for _, approved := range []bool{false, true} {
		clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
		jane := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "jane", CreationTimestamp: metav1.NewTime(clk.Now())},
			Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeAPIServerClientSignerName,
				Usages:  []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
				Request: request(t, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}})}}
		want := ""
		if approved {
			jane.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
			want = certificatesv1.KubeAPIServerClientSignerName + " jane"
		}
		api := fakecluster.New(clk, jane)
		r := &csr.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}, Signer: stamp{}}
		if _, err := r.Reconcile(t.Context(), controller.Named("", "jane")); err != nil {
			t.Fatal(err)
		}
		c := &certificatesv1.CertificateSigningRequest{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "jane"}, c); err != nil {
			t.Fatal(err)
		}
		if got := string(c.Status.Certificate); got != want || len(c.Status.Conditions) != len(jane.Status.Conditions) {
			t.Errorf("approved %v: certificate %q, want %q; conditions %+v", approved, got, want, c.Status.Conditions)
		}
	}
}
