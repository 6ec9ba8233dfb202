package containerd

import (
	"fmt"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Handler is a way to run containers that a RuntimeClass can name.
type Handler struct {
	// Type is containerd's name of the shim, such as io.containerd.kata.v2.
	// Default: runc's.
	Type string
	// Binary is the program that runc's shim calls instead of runc.
	Binary string
}

const optionsType = "containerd.runc.v1.Options"

// shim is what containerd runs a container with.
func (r *Runtime) shim(handler string) (containers.RuntimeInfo, error) {
	if handler == "" {
		return containers.RuntimeInfo{Name: runcShim}, nil
	}
	h, ok := r.config.Handlers[handler]
	if !ok {
		return containers.RuntimeInfo{}, fmt.Errorf("no runtime for %q is configured", handler)
	}
	info := containers.RuntimeInfo{Name: h.Type}
	if info.Name == "" {
		info.Name = runcShim
	}
	if h.Binary != "" {
		value, err := proto.Marshal(&options.Options{BinaryName: h.Binary})
		if err != nil {
			return containers.RuntimeInfo{}, err
		}
		info.Options = &anypb.Any{TypeUrl: optionsType, Value: value}
	}
	return info, nil
}
