package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
)

// patience is how long an agent may take until it answers: to be reached, to
// prove who it is and to send the first byte. What it sends then lasts as long
// as the client wants.
const patience = 10 * time.Second

// agent is the base URL of a node's agent, from what the node registered.
func (c *Connector) agent(name string) (*url.URL, error) {
	o, ok := c.View().Get(txn.Ref{Resource: nodes, Name: name})
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

// agentTransport reaches one node's agent and nobody else.
func (c *Connector) agentTransport(node string) *http.Transport {
	return &http.Transport{
		DialContext: (&net.Dialer{Timeout: patience}).DialContext, TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
		TLSClientConfig: c.agentTLS(node), DisableKeepAlives: true, DisableCompression: true,
	}
}

func (c *Connector) agentTLS(node string) *tls.Config {
	config := c.Agents.Clone()
	config.ServerName = node
	config.NextProtos = []string{"http/1.1"} // streams are upgrades, which HTTP/2 does not have
	return config
}

// streamTransport is agentTransport for upgrades, where only the dialler is
// heeded and whatever comes after it would wait for ever. So it is the dialler
// that speaks TLS, and the URL must not ask for it again.
func (c *Connector) streamTransport(node string, target *url.URL) (*http.Transport, *url.URL) {
	plain := *target
	plain.Scheme = "http"
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: c.agentTLS(node)}
	return &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		until := time.Now().Add(patience)
		ctx, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("the agent of node %s cannot be reached: %w", node, err)
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return &unanswered{Conn: conn, node: node}, nil
	}}, &plain
}

// unanswered is a connection whose far end has to say something before the
// deadline for reading; from then on there is none.
type unanswered struct {
	net.Conn
	node     string
	answered sync.Once
}

func (u *unanswered) Read(p []byte) (int, error) {
	n, err := u.Conn.Read(p)
	if n > 0 {
		u.answered.Do(func() { _ = u.SetReadDeadline(time.Time{}) }) // it fails on what is closed only
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the agent of node %s has not answered within %s: %w", u.node, patience, err)
	}
	return n, err
}
