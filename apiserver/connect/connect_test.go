package connect_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/connect"
	"github.com/headway-sh/headway/apiserver/rest"
)

// view is a fixed set of objects.
type view = map[txn.Ref]txn.Object

var podResource = schema.GroupResource{Resource: "pods"}

// machineAddress is an address of this machine that is not loopback.
func machineAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

func pod(name, ip string, port int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.NodeName = "n1"
	p.Spec.Containers = []corev1.Container{{Name: "web", Ports: []corev1.ContainerPort{{ContainerPort: int32(port)}}}}
	p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	return p
}

// server answers through a Connector whatever object it is about.
func server(t *testing.T, v view, own netip.AddrPort, o txn.Object) *httptest.Server {
	t.Helper()
	c := connect.New(connect.Config{View: func() txn.View { return txn.Overlay(txn.Empty{}, v, nil) }, Agents: &tls.Config{}, Own: own, Log: slog.New(slog.DiscardHandler)}) //nolint:gosec // never used
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := rest.ParseRequest(r)
		if err == nil {
			err = c.Connect(w, r, info, txn.Identity{}, o)
		}
		if err != nil {
			code := http.StatusInternalServerError
			if api, ok := err.(apierrors.APIStatus); ok {
				code = int(api.Status().Code)
			}
			http.Error(w, err.Error(), code)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer secret")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

// backend is what a pod serves: it tells what it was asked.
func backend(t *testing.T, ip string) int {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.RequestURI()+" auth="+r.Header.Get("Authorization"))
	}))
	s.Listener = listener
	s.Start()
	t.Cleanup(s.Close)
	return listener.Addr().(*net.TCPAddr).Port
}

func TestProxyToPod(t *testing.T) {
	ip := machineAddress(t)
	t.Setenv("NO_PROXY", "*")
	port := backend(t, ip)
	number := strconv.Itoa(port)
	own := netip.AddrPortFrom(netip.MustParseAddr(ip), 1)
	for name, tc := range map[string]struct {
		ip, path string
		code     int
		body     string
	}{
		"first port":      {ip, "pods/web/proxy/a/b?c=d", 200, "/a/b?c=d auth="},
		"asked port":      {ip, "pods/web:" + number + "/proxy/x%2Fy", 200, "/x%2Fy auth="},
		"scheme and port": {ip, "pods/http:web:" + number + "/proxy/", 200, "/ auth="},
		"no slash":        {ip, "pods/web/proxy", 301, ""},
		"bad scheme":      {ip, "pods/ftp:web:1/proxy/", 400, ""},
		"bad port":        {ip, "pods/web:99999/proxy/", 400, ""},
		"loopback":        {"127.0.0.1", "pods/web:" + number + "/proxy/", 400, ""},
		"mapped loopback": {"::ffff:127.0.0.1", "pods/web:" + number + "/proxy/", 400, ""},
		"link-local":      {"169.254.169.254", "pods/web:80/proxy/", 400, ""},
		"own":             {ip, "pods/web:1/proxy/", 400, ""},
		"no address":      {"", "pods/web/proxy/", 503, ""},
		"nobody listens":  {ip, "pods/web:2/proxy/", 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, view{}, own, pod("web", tc.ip, port))
			code, body := get(t, s.URL+"/api/v1/namespaces/default/"+tc.path)
			if code != tc.code || tc.body != "" && body != tc.body {
				t.Errorf("%d %q, want %d %q", code, body, tc.code, tc.body)
			}
		})
	}
}

func TestProxyToService(t *testing.T) {
	ip := machineAddress(t)
	t.Setenv("NO_PROXY", "*")
	port := backend(t, ip)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	service.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	for name, tc := range map[string]struct {
		address, target, path string
		code                  int
	}{
		"by name":            {ip, "web", "services/web:http/proxy/", 200},
		"by number":          {ip, "web", "services/web:80/proxy/", 200},
		"unknown port":       {ip, "web", "services/web:81/proxy/", 503},
		"another's address":  {"10.1.2.3", "web", "services/web:http/proxy/", 503},
		"nobody's address":   {ip, "", "services/web:http/proxy/", 503},
		"a pod that is gone": {ip, "old", "services/web:http/proxy/", 503},
	} {
		t.Run(name, func(t *testing.T) {
			slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}}
			slice.Ports = []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(port))}}
			slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{tc.address}}}
			if tc.target != "" {
				slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: tc.target}
			}
			v := view{
				{Resource: podResource, Namespace: "default", Name: "web"}:                                                                 pod("web", ip, port),
				{Resource: discoveryv1.SchemeGroupVersion.WithResource("endpointslices").GroupResource(), Namespace: "default", Name: "s"}: slice,
			}
			s := server(t, v, netip.AddrPort{}, service)
			if code, body := get(t, s.URL+"/api/v1/namespaces/default/"+tc.path); code != tc.code {
				t.Errorf("%d %q, want %d", code, body, tc.code)
			}
		})
	}
}

func TestWhichContainer(t *testing.T) {
	t.Parallel()
	p := pod("web", "", 80)
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side"})
	p.Spec.InitContainers = []corev1.Container{{Name: "prepare"}}
	for path, want := range map[string]string{
		"log":             "a container name must be specified for pod web, choose one of: [web side] or one of the init containers: [prepare]",
		"log?container=x": "container x is not valid for pod web",
	} {
		s := server(t, view{}, netip.AddrPort{}, p)
		if code, body := get(t, s.URL+"/api/v1/namespaces/default/pods/web/"+path); code != 400 || body != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
}
