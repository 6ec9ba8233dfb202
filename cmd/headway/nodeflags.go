package main

import (
	"path/filepath"

	"github.com/spf13/pflag"
)

// nodeFlags are what a node agent is told, in the server's process or in its
// own.
type nodeFlags struct {
	manifests string
	pods      podOptions
}

func (n *nodeFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&n.manifests, "pod-manifest-path", "", "directory with the pods that this node runs by itself, one a file (default: manifests in the data directory)")
	n.pods.flags(f)
}

// complete fills in what depends on the data directory.
func (n *nodeFlags) complete(dataDir string) error {
	if n.manifests == "" {
		n.manifests = filepath.Join(dataDir, "manifests")
	}
	err := n.pods.validate()
	if err != nil {
		return err
	}
	n.manifests, err = filepath.Abs(n.manifests)
	return err
}
