package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
)

// Config is what a Connector is made of.
type Config struct {
	// View gives what this server has now.
	View func() txn.View
	// Agents has the API server's client certificate and the agents' authority.
	Agents *tls.Config
	// Own is where this API server listens, which nobody is proxied to.
	Own netip.AddrPort
	Log *slog.Logger
}

// Connector serves connect subresources.
type Connector struct {
	Config
	// pods carries proxied requests to pods. Their certificates are not
	// checked: nothing is known that they could be checked against.
	pods *http.Transport
}

var _ rest.Connector = (*Connector)(nil)

const (
	podsIdle      = 30 * time.Second
	podsIdleConns = 32
)

// New returns a Connector.
func New(config Config) *Connector {
	return &Connector{Config: config, pods: &http.Transport{
		DialContext:     (&net.Dialer{Timeout: patience}).DialContext,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the API reference says of pods
		IdleConnTimeout: podsIdle, MaxIdleConns: podsIdleConns, DisableCompression: true,
	}}
}

var (
	nodes    = schema.GroupResource{Resource: "nodes"}
	podsKind = schema.GroupResource{Resource: "pods"}
	slices   = schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
)

// Connect answers a connect request.
func (c *Connector) Connect(w http.ResponseWriter, r *http.Request, info *rest.RequestInfo, _ txn.Identity, o txn.Object) error {
	if info.Subresource == "proxy" {
		return c.proxy(w, r, info, o)
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return apierrors.NewMethodNotSupported(info.GroupResource(), info.Subresource)
	}
	if r.Method != http.MethodGet && (r.Method != http.MethodPost || info.Subresource == "log") {
		return apierrors.NewMethodNotSupported(info.GroupResource(), info.Verb)
	}
	query := r.URL.Query()
	path, err := agentPath(info.Subresource, pod, query)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		if info.Subresource == "log" {
			w.Header().Set("Content-Type", "text/plain") // nothing was written yet
			return nil
		}
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	target, err := c.agent(pod.Spec.NodeName)
	if err != nil {
		return err
	}
	target.Path, target.RawQuery = path, agentQuery(info.Subresource, query).Encode()
	if info.Subresource == "log" {
		return c.log(w, r, pod.Spec.NodeName, target)
	}
	c.stream(w, r, info.Subresource, pod.Spec.NodeName, target)
	return nil
}

// agentPath is where the agent serves a pod's subresource. The container
// travels in the path, everything else in the query.
func agentPath(subresource string, pod *corev1.Pod, query url.Values) (string, error) {
	base := "/" + pod.Namespace + "/" + pod.Name
	if subresource == "portforward" {
		return "/portForward" + base, nil
	}
	container, err := container(pod, query.Get("container"))
	if err != nil {
		return "", err
	}
	switch subresource {
	case "log":
		return "/containerLogs" + base + "/" + container, nil
	case "exec", "attach":
		return "/" + subresource + base + "/" + container, nil
	}
	return "", apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods/" + subresource}, "connect")
}

// agentQuery says in the agent's words which streams a client wants; all else
// stays as the client sent it.
func agentQuery(subresource string, query url.Values) url.Values {
	query.Del("container")
	if subresource != "exec" && subresource != "attach" {
		return query
	}
	for api, agent := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		wanted := wants(query, api)
		query.Del(api)
		if wanted {
			query.Set(agent, "1")
		}
	}
	return query
}

// wants reads one of the stream options.
func wants(query url.Values, name string) bool {
	wanted, err := strconv.ParseBool(query.Get(name))
	return err == nil && wanted
}

// container checks the container's name, or picks the default one.
func container(pod *corev1.Pod, name string) (string, error) {
	var usual, initial []string
	for i := range pod.Spec.Containers {
		usual = append(usual, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.InitContainers {
		initial = append(initial, pod.Spec.InitContainers[i].Name)
	}
	if name == "" {
		name = pod.Annotations["kubectl.kubernetes.io/default-container"]
	}
	if name == "" && len(usual) == 1 {
		return usual[0], nil
	}
	if name == "" {
		message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, usual)
		if len(initial) > 0 {
			message += fmt.Sprintf(" or one of the init containers: %v", initial)
		}
		return "", apierrors.NewBadRequest(message)
	}
	all := append(usual, initial...)
	for i := range pod.Spec.EphemeralContainers {
		all = append(all, pod.Spec.EphemeralContainers[i].Name)
	}
	for _, n := range all {
		if n == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// withoutCredentials is the request without what the client showed to this
// server, which is nobody else's to see.
func withoutCredentials(ctx context.Context, r *http.Request) *http.Request {
	r = r.Clone(ctx)
	r.Header.Del("Authorization")
	protocols := r.Header.Values("Sec-Websocket-Protocol")
	r.Header.Del("Sec-Websocket-Protocol")
	for _, line := range protocols {
		var kept []string
		for _, p := range strings.Split(line, ",") {
			if p = strings.TrimSpace(p); !strings.HasPrefix(p, "base64url.bearer.authorization.k8s.io.") {
				kept = append(kept, p)
			}
		}
		if len(kept) > 0 {
			r.Header.Add("Sec-Websocket-Protocol", strings.Join(kept, ", "))
		}
	}
	return r
}
