package apiserver_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headway-sh/headway/apiserver"
)

// recordedPerson is a client's configuration with a certificate that has a
// record, and that record.
func recordedPerson(t *testing.T, server *apiserver.Server, name string) (*rest.Config, *corev1.Secret) {
	t.Helper()
	cert, key, record, err := server.Authorities().RecordedCertificate(name, nil, time.Hour, "root")
	check(t, err)
	check(t, server.Peer(admin).Client().Create(t.Context(), record.DeepCopy()))
	return &rest.Config{QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: server.Authorities().API.PEM, CertData: cert, KeyData: key, ServerName: "kubernetes.default.svc"}}, record
}

// through is a configuration for one of the servers.
func through(config *rest.Config, server *apiserver.Server) *rest.Config {
	c := rest.CopyConfig(config)
	c.Host = "https://" + server.Address().String()
	return c
}

// TestRemovalEndsWhatIsOpen: what somebody has open ends with the removal of
// the certificate that it was opened with, on every server, and nobody else's
// does.
func TestRemovalEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	servers := startTwo(t)
	node(t, servers[0], "n1", quietAgent(t, servers[0], "n1"))
	ada, record := recordedPerson(t, servers[0], "ada")
	other, _ := recordedPerson(t, servers[0], "ada") // the same person's second certificate
	bindRole(t, servers[0], "ada", "cluster-admin")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	open, stays := map[string]opened{}, map[string]opened{}
	for i, server := range servers {
		at := []string{" at the first server", " at the second server"}[i]
		eventually(t, "ada to be known"+at, func(ctx context.Context) (bool, error) {
			_, err := kubernetes.NewForConfigOrDie(through(ada, server)).CoreV1().Pods("default").Get(ctx, "n1", metav1.GetOptions{})
			_, otherErr := kubernetes.NewForConfigOrDie(through(other, server)).CoreV1().Pods("default").Get(ctx, "n1", metav1.GetOptions{})
			return err == nil && otherErr == nil, nil
		})
		for name, begin := range lasting {
			open[name+at] = begin(ctx, through(ada, server), "n1")
		}
		stays["watch"+at], stays["log"+at] = lasting["watch"](ctx, through(other, server), "n1"), lasting["log"](ctx, through(other, server), "n1")
	}
	for _, all := range []map[string]opened{open, stays} {
		for name, o := range all {
			select {
			case <-o.begun:
			case err := <-o.ended:
				t.Fatalf("%s ended before it began: %v", name, err)
			case <-time.After(20 * time.Second):
				t.Fatalf("%s does not begin", name)
			}
		}
	}
	removed := time.Now()
	check(t, servers[1].Peer(admin).Client().Delete(t.Context(), record.DeepCopy()))
	late := time.After(2 * time.Second)
	for name, o := range open {
		select {
		case <-o.ended:
		case <-late:
			t.Fatalf("%s goes on after the removal", name)
		}
	}
	t.Logf("all have ended within %s", time.Since(removed))
	for name, o := range stays {
		select {
		case err := <-o.ended:
			t.Errorf("%s of another certificate has ended: %v", name, err)
		default:
		}
	}
}
