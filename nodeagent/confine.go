package nodeagent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// confine carries the seccomp and AppArmor profiles over, the container's
// before the pod's. A container that names none gets the runtime's default.
func confine(config *runtime.ContainerConfig, pod *corev1.Pod, c *corev1.Container, profiles string) error {
	var seccomp *corev1.SeccompProfile
	var appArmor *corev1.AppArmorProfile
	if s := pod.Spec.SecurityContext; s != nil {
		seccomp, appArmor = s.SeccompProfile, s.AppArmorProfile
	}
	if s := c.SecurityContext; s != nil {
		if s.SeccompProfile != nil {
			seccomp = s.SeccompProfile
		}
		if s.AppArmorProfile != nil {
			appArmor = s.AppArmorProfile
		}
	}
	if appArmor != nil && appArmor.Type == corev1.AppArmorProfileTypeLocalhost && appArmor.LocalhostProfile != nil {
		config.AppArmorProfile = *appArmor.LocalhostProfile
	}
	if seccomp == nil {
		return nil
	}
	switch seccomp.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
	case corev1.SeccompProfileTypeUnconfined:
		config.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	case corev1.SeccompProfileTypeLocalhost:
		var err error
		if config.Seccomp, err = localSeccomp(profiles, seccomp.LocalhostProfile); err != nil {
			return err
		}
	}
	return nil
}

// localSeccomp reads one of the node's own profiles.
func localSeccomp(dir string, name *string) (*specs.LinuxSeccomp, error) {
	if name == nil || !filepath.IsLocal(*name) {
		return nil, fmt.Errorf("a localhost seccomp profile must be a path below %s", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", filepath.Join(dir, *name), err)
	}
	defer root.Close()
	text, err := root.ReadFile(*name)
	if err != nil {
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", filepath.Join(dir, *name), err)
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(text, profile); err != nil {
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", filepath.Join(dir, *name), err)
	}
	return profile, nil
}
