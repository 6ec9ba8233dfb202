package localnet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const file = "/proc/sys/net/ipv4/conf/all/route_localnet"

// Set switches it for the network namespace at a path; empty: this one.
func Set(ctx context.Context, netns string, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	if netns == "" {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("route loopback addresses: %w", err)
		}
		return nil
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+netns, "tee", file)
	cmd.Stdin = strings.NewReader(value)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("route loopback addresses: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
