package connect

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxUsage is how many bytes an agent may say about what its node uses.
const maxUsage = 16 << 20

// Usage asks a node's agent what the node and its pods use, in Prometheus' text
// format. Whether anybody may know is for the caller to ask.
func (c *Connector) Usage(ctx context.Context, node string) ([]byte, error) {
	target, err := c.agent(node)
	if err != nil {
		return nil, err
	}
	target.Path = "/metrics/resource"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := c.agentTransport(node).RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("the agent of node %s cannot be reached: %w", node, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxUsage))
	if err != nil {
		return nil, fmt.Errorf("usage of node %s: %w", node, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.StatusCode, text[:min(len(text), maxRefusal)])
	}
	return text, nil
}
