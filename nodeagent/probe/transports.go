package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxBody is how much of a bad answer goes into an event.
const maxBody = 1 << 10

// Get asks a URL as an HTTP probe or a lifecycle hook does; an answer from 200
// to 399 is success.
func Get(ctx context.Context, action *corev1.HTTPGetAction, spec *corev1.Container, podIP string) error {
	return httpGet(ctx, action, Container{Spec: spec, PodIP: podIP})
}

func httpGet(ctx context.Context, action *corev1.HTTPGetAction, c Container) error {
	port, err := portNumber(action.Port, c.Spec)
	if err != nil {
		return err
	}
	target, err := url.Parse(action.Path)
	if err != nil {
		return fmt.Errorf("path %q: %w", action.Path, err)
	}
	target.Scheme, target.Host = "http", net.JoinHostPort(host(action.Host, c), strconv.Itoa(port))
	if action.Scheme == corev1.URISchemeHTTPS {
		target.Scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.37")
	request.Header.Set("Accept", "*/*")
	for _, h := range action.HTTPHeaders {
		if strings.EqualFold(h.Name, "host") {
			request.Host = h.Value
			continue
		}
		request.Header.Add(h.Name, h.Value)
	}
	// A probe's certificate is not checked (API reference, HTTPGetAction), no
	// proxy is used, and nothing is kept open between two questions.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: sameHost}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody)) // only for the message
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d: %s", response.StatusCode, strings.TrimSpace(string(body)))
	}
	return nil
}

// sameHost follows a redirect within the host only: one that leads away is an
// answer by itself.
func sameHost(request *http.Request, via []*http.Request) error {
	if len(via) >= 10 || request.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	return nil
}

// Dial connects to a TCP port and closes again.
func Dial(ctx context.Context, action *corev1.TCPSocketAction, spec *corev1.Container, podIP string) error {
	return tcpDial(ctx, action, Container{Spec: spec, PodIP: podIP})
}

func tcpDial(ctx context.Context, action *corev1.TCPSocketAction, c Container) error {
	port, err := portNumber(action.Port, c.Spec)
	if err != nil {
		return err
	}
	var d net.Dialer
	connection, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host(action.Host, c), strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return connection.Close()
}

func grpcCheck(ctx context.Context, action *corev1.GRPCAction, c Container) error {
	connection, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(c.PodIP, strconv.Itoa(int(action.Port))),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer connection.Close()
	request := &grpc_health_v1.HealthCheckRequest{}
	if action.Service != nil {
		request.Service = *action.Service
	}
	response, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, request)
	if err != nil {
		return err
	}
	if response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", response.GetStatus())
	}
	return nil
}

func host(name string, c Container) string {
	if name != "" {
		return name
	}
	return c.PodIP
}

func portNumber(p intstr.IntOrString, c *corev1.Container) (int, error) {
	if p.Type == intstr.Int {
		return p.IntValue(), nil
	}
	for i := range c.Ports {
		if c.Ports[i].Name == p.StrVal {
			return int(c.Ports[i].ContainerPort), nil
		}
	}
	n, err := strconv.Atoi(p.StrVal)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("container %q has no port %q", c.Name, p.StrVal)
	}
	return n, nil
}
