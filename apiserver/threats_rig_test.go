package apiserver_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver"
)

// peer is somebody at the far end of a TLS connection.
type peer struct {
	url  string
	http *http.Client
}

// peerOf connects with a certificate, or with none.
func peerOf(t *testing.T, server *apiserver.Server, certificates ...tls.Certificate) peer {
	t.Helper()
	config := server.Authorities().ClientTLS()
	// Whatever authorities the server asks for, this is what it gets.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certificates) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certificates[0], nil
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return peer{"https://" + server.Address().String(), &http.Client{Transport: transport}}
}

// personPeer connects with a certificate of the cluster's own.
func personPeer(t *testing.T, server *apiserver.Server, name string, groups ...string) peer {
	t.Helper()
	return peerOf(t, server, pair(t)(server.Authorities().UserCertificate(name, groups, 0)))
}

func pair(t *testing.T) func(cert, key []byte, err error) tls.Certificate {
	return func(cert, key []byte, err error) tls.Certificate {
		t.Helper()
		check(t, err)
		p, err := tls.X509KeyPair(cert, key)
		check(t, err)
		return p
	}
}

// ask sends a request with headers in pairs and gives the code and the text of
// the answer.
func (p peer) ask(t *testing.T, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	check(t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			request.Header.Del(headers[i])
		}
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := p.http.Do(request)
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(text)
}

// grant lets a person do what the rules say, everywhere.
func grant(t *testing.T, server *apiserver.Server, person string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	check(t, server.Peer(admin).Client().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: person}, Rules: rules}))
	bindRole(t, server, person, person)
}

// may is a rule.
func may(verbs, group, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: []string{group}, Resources: strings.Fields(resources), ResourceNames: names}
}

func inDefault(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name}
}

func inSystem(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}
}

// podOn is a pod on a node that reads the Secret of its own name.
func podOn(node, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: inDefault(name), Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: name,
		Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes:    []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}}}}
}
