package admission

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotaconfig "k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	psaload "k8s.io/pod-security-admission/admission/api/load"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/internal/quota"
)

// LoadFile reads Kubernetes' file about admission plug-ins, an
// AdmissionConfiguration of apiserver.config.k8s.io/v1, into a Config. A
// plug-in's own configuration stands in it or in a file that it names, relative
// to it. Only PodSecurity and ResourceQuota take one here.
func LoadFile(path string, into *Config) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the admission configuration: %w", err)
	}
	if err := load(text, filepath.Dir(path), into); err != nil {
		return fmt.Errorf("admission configuration %s: %w", path, err)
	}
	return nil
}

var configurations = schema.GroupVersionKind{Group: "apiserver.config.k8s.io", Version: "v1", Kind: "AdmissionConfiguration"}

func load(text []byte, dir string, into *Config) error {
	var c apiserverv1.AdmissionConfiguration
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return err
	}
	if got := c.GroupVersionKind(); got != configurations {
		return fmt.Errorf("it is a %v, want %v", got, configurations)
	}
	seen := map[string]bool{}
	for _, p := range c.Plugins {
		if seen[p.Name] {
			return fmt.Errorf("plug-in %q has two configurations", p.Name)
		}
		seen[p.Name] = true
		var own []byte
		switch {
		case p.Configuration != nil:
			own = p.Configuration.Raw
		case p.Path != "":
			file := p.Path
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			var err error
			if own, err = os.ReadFile(file); err != nil {
				return fmt.Errorf("plug-in %q: %w", p.Name, err)
			}
		}
		if err := loadPlugin(p.Name, own, into); err != nil {
			return fmt.Errorf("plug-in %q: %w", p.Name, err)
		}
	}
	return nil
}

func loadPlugin(name string, own []byte, into *Config) error {
	switch name {
	case "PodSecurity":
		return loadPodSecurity(own, into)
	case "ResourceQuota":
		return loadLimits(own, into)
	case "MutatingAdmissionWebhook", "ValidatingAdmissionWebhook":
		if len(own) > 0 {
			return errors.New("client certificates for webhooks are not supported: leave its configuration out")
		}
		return nil
	}
	var known []string
	for _, s := range Steps(Config{}) {
		known = append(known, s.Name)
	}
	slices.Sort(known)
	switch {
	case !slices.Contains(known, name):
		return fmt.Errorf("there is no such plug-in; there are %s", strings.Join(slices.Compact(known), ", "))
	case len(own) > 0:
		return errors.New("it takes no configuration")
	}
	return nil
}

func loadPodSecurity(own []byte, into *Config) error {
	c, err := psaload.LoadFromData(own)
	if err != nil {
		return err
	}
	into.PodSecurity = PodSecurity{
		Enforce: c.Defaults.Enforce, EnforceVersion: c.Defaults.EnforceVersion, Audit: c.Defaults.Audit, AuditVersion: c.Defaults.AuditVersion,
		Warn: c.Defaults.Warn, WarnVersion: c.Defaults.WarnVersion,
		Users: c.Exemptions.Usernames, Namespaces: c.Exemptions.Namespaces, RuntimeClasses: c.Exemptions.RuntimeClasses,
	}
	return into.PodSecurity.Validate()
}

// quotaConfigurations are the kinds that a ResourceQuota's configuration may
// have: today's, and the one that it had in a group of its own.
var quotaConfigurations = []schema.GroupVersionKind{
	configurations.GroupVersion().WithKind("ResourceQuotaConfiguration"), quotaconfig.SchemeGroupVersion.WithKind("Configuration"),
}

func loadLimits(own []byte, into *Config) error {
	if len(own) == 0 {
		return nil
	}
	var c quotaconfig.Configuration
	if err := yaml.UnmarshalStrict(own, &c); err != nil {
		return err
	}
	if got := c.GroupVersionKind(); !slices.Contains(quotaConfigurations, got) {
		return fmt.Errorf("it is a %v, want %v", got, quotaConfigurations[0])
	}
	for i, l := range c.LimitedResources {
		if l.Resource == "" {
			return fmt.Errorf("limitedResources[%d].resource: Required value", i)
		}
		for j, s := range l.MatchScopes {
			if !slices.Contains([]corev1.ScopeSelectorOperator{corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn, corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist}, s.Operator) {
				return fmt.Errorf("limitedResources[%d].matchScopes[%d].operator: Unsupported value: %q", i, j, s.Operator)
			}
		}
		into.Limited = append(into.Limited, quota.Rule{Resource: schema.GroupResource{Group: l.APIGroup, Resource: l.Resource}, Contains: l.MatchContains, Scopes: l.MatchScopes})
	}
	return nil
}
