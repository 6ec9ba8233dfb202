package connect

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
)

// maxLines is how many bytes of a log are read for its last lines.
const maxLines = 64 << 10

// Lines gives the last n lines of a container's log, or with previous of the
// container before it, to a component of this process. Whether it may is for
// the caller to ask.
func (c *Connector) Lines(ctx context.Context, namespace, name, container string, previous bool, n int) ([]string, error) {
	o, ok := c.View().Get(txn.Ref{Resource: podsKind, Namespace: namespace, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(podsKind, name)
	}
	pod := o.(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	target, err := c.agent(pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	if target.Path, err = agentPath("log", pod, url.Values{"container": {container}}); err != nil {
		return nil, err
	}
	target.RawQuery = url.Values{"tailLines": {strconv.Itoa(n)}, "previous": {strconv.FormatBool(previous)}, "limitBytes": {strconv.Itoa(maxLines)}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := c.agentTransport(pod.Spec.NodeName).RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("the agent of node %s cannot be reached: %w", pod.Spec.NodeName, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxLines))
	if err != nil {
		return nil, fmt.Errorf("log of %s/%s: %w", namespace, name, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.StatusCode, text[:min(len(text), maxRefusal)])
	}
	trimmed := strings.TrimRight(string(text), "\n")
	if trimmed == "" {
		return nil, nil
	}
	return strings.Split(trimmed, "\n"), nil
}
