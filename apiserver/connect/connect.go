// Package connect hands the streams behind pods and nodes (logs, exec, attach,
// port-forward) over to the node's agent. It believes an agent by the
// node-serving authority and the node's own name, so that a node which changes
// its address reaches nobody else.
package connect

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
)

// Views gives what this server has.
type Views interface{ Snapshot() *store.Snapshot }

// Connector serves connect subresources through the nodes' agents.
type Connector struct {
	views Views
	tls   *tls.Config
	log   *slog.Logger
}

var _ rest.Connector = (*Connector)(nil)

// New returns a Connector that talks to agents with the TLS configuration,
// which has the API server's client certificate and the agents' authority.
func New(views Views, tls *tls.Config, log *slog.Logger) *Connector {
	return &Connector{views: views, tls: tls, log: log}
}

var nodes = schema.GroupResource{Resource: "nodes"}

// Connect answers a connect request.
func (c *Connector) Connect(w http.ResponseWriter, r *http.Request, info *rest.RequestInfo, _ txn.Identity, o txn.Object) error {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return apierrors.NewMethodNotSupported(info.GroupResource(), info.Subresource)
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	path, err := agentPath(info.Subresource, pod, r.URL.Query())
	if err != nil {
		return err
	}
	target, err := c.agent(pod.Spec.NodeName)
	if err != nil {
		return err
	}
	target.Path, target.RawQuery = path, agentQuery(info.Subresource, r.URL.Query()).Encode()
	c.proxy(pod.Spec.NodeName, target).ServeHTTP(w, r)
	return nil
}

// agentPath is where the agent serves a pod's subresource. The container
// travels in the path, everything else in the query as the client sent it.
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
		wanted, err := strconv.ParseBool(query.Get(api))
		query.Del(api)
		if err == nil && wanted {
			query.Set(agent, "1")
		}
	}
	return query
}

// container checks the container's name, or picks the only one.
func container(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	if name == "" {
		if annotated := pod.Annotations["kubectl.kubernetes.io/default-container"]; annotated != "" {
			name = annotated
		} else if len(pod.Spec.Containers) == 1 {
			return pod.Spec.Containers[0].Name, nil
		} else {
			return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, names))
		}
	}
	for _, n := range names {
		if n == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// agent is the base URL of a node's agent, from what the node registered.
func (c *Connector) agent(name string) (*url.URL, error) {
	o, ok := c.views.Snapshot().Get(txn.Ref{Resource: nodes, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(nodes, name)
	}
	node := o.(*corev1.Node)
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP || port == 0 {
			continue
		}
		ip, err := netip.ParseAddr(a.Address)
		if err != nil || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("node %s has the address %q, which is no address of a machine", name, a.Address))
		}
		return &url.URL{Scheme: "https", Host: net.JoinHostPort(a.Address, strconv.Itoa(int(port)))}, nil
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has not said where its agent listens", name))
}

// proxy forwards one request, upgrades included.
func (c *Connector) proxy(node string, target *url.URL) http.Handler {
	config := c.tls.Clone()
	config.ServerName = node
	config.NextProtos = []string{"http/1.1"} // streams are upgrades, which HTTP/2 does not have
	return &httputil.ReverseProxy{
		Transport:     &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true},
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.Path, p.Out.URL.RawPath, p.Out.URL.RawQuery = target.Scheme, target.Host, target.Path, "", target.RawQuery
			p.Out.Host = target.Host
			p.Out.Header.Del("Authorization")
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			c.log.Info("agent not reached", "node", node, "path", target.Path, "error", err)
			http.Error(w, fmt.Sprintf("the agent of node %s cannot be reached: %v", node, err), http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
}
