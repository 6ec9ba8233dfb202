package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/internal/pki"
)

const recordSuffix = ".json"

// record is what the plug-ins were asked for a pod. It is there from before ADD
// until after DEL.
type record struct {
	NetNS string `json:"netns"`
	// BinDirs had the plug-ins; they are looked for there last.
	BinDirs []string `json:"binDirs"`
	// Config is the configuration that ADD had: DEL has the same, whatever the
	// directory says by then.
	Config       json.RawMessage `json:"config"`
	Args         [][2]string     `json:"args"`
	Capabilities map[string]any  `json:"capabilities,omitempty"`
	// Addresses are empty until ADD has answered.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

func (r *record) runtime(uid types.UID) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: string(uid), NetNS: r.NetNS, IfName: podLink, Args: r.Args, CapabilityArgs: r.Capabilities}
}

func (n *Network) path(uid types.UID) string {
	return filepath.Join(n.Dir, "attachments", string(uid)+recordSuffix)
}

// read gives a pod's record; nil: it has none.
func (n *Network) read(uid types.UID) (*record, error) {
	text, err := os.ReadFile(n.path(uid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read attachment: %w", err)
	}
	r := &record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read attachment %s: %w", n.path(uid), err)
	}
	return r, nil
}

func (n *Network) write(uid types.UID, r *record) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(n.path(uid)), 0o700)
	}
	if err == nil {
		err = pki.WriteFile(n.path(uid), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("record attachment: %w", err)
	}
	return nil
}

func (n *Network) forget(uid types.UID) error {
	if err := os.Remove(n.path(uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget attachment: %w", err)
	}
	return nil
}

// recorded are the pods that have records.
func (n *Network) recorded() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Dir(n.path("")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list attachments: %w", err)
	}
	var all []types.UID
	for _, e := range entries {
		if uid, ok := strings.CutSuffix(e.Name(), recordSuffix); ok {
			all = append(all, types.UID(uid))
		}
	}
	return all, nil
}
