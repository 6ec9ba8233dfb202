package env

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Source gives the ConfigMaps and Secrets of the pod's namespace; one that
// does not exist is the API's NotFound error.
type Source interface {
	ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, name string) (*corev1.Secret, error)
	// File reads a file of one of the pod's volumes; one that does not exist is
	// fs.ErrNotExist.
	File(volume, path string) ([]byte, error)
}

// Build gives a container's environment as KEY=VALUE, services first, then
// envFrom, then env, the later value of a name winning, and the values of env
// with $(NAME) replaced.
func Build(ctx context.Context, f Facts, c *corev1.Container, services map[string]string, source Source) ([]string, error) {
	values := maps.Clone(services)
	if values == nil {
		values = map[string]string{}
	}
	for i := range c.EnvFrom {
		if err := from(ctx, &c.EnvFrom[i], source, values); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		e := &c.Env[i]
		value, set := Expand(e.Value, values), true
		if e.ValueFrom != nil {
			var err error
			if value, set, err = valueFrom(ctx, f, c, e.ValueFrom, source); err != nil {
				return nil, fmt.Errorf("variable %q: %w", e.Name, err)
			}
		}
		if set {
			values[e.Name] = value
		}
	}
	all := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, name+"="+values[name])
	}
	return all, nil
}

// Values turns KEY=VALUE into a map.
func Values(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		m[name] = value
	}
	return m
}

func from(ctx context.Context, s *corev1.EnvFromSource, source Source, values map[string]string) error {
	data, optional := map[string]string{}, false
	var err error
	switch {
	case s.ConfigMapRef != nil:
		optional = s.ConfigMapRef.Optional != nil && *s.ConfigMapRef.Optional
		var o *corev1.ConfigMap
		if o, err = source.ConfigMap(ctx, s.ConfigMapRef.Name); err == nil {
			data = o.Data
		}
	case s.SecretRef != nil:
		optional = s.SecretRef.Optional != nil && *s.SecretRef.Optional
		var o *corev1.Secret
		if o, err = source.Secret(ctx, s.SecretRef.Name); err == nil {
			for k, v := range o.Data {
				data[k] = string(v)
			}
		}
	}
	if err != nil && !(optional && apierrors.IsNotFound(err)) {
		return err
	}
	for k, v := range data {
		// A name with '=' or NUL cannot be in an environment.
		if name := s.Prefix + k; !strings.ContainsAny(name, "=\x00") {
			values[name] = v
		}
	}
	return nil
}

func valueFrom(ctx context.Context, f Facts, c *corev1.Container, s *corev1.EnvVarSource, source Source) (value string, set bool, err error) {
	switch {
	case s.FieldRef != nil:
		value, err = f.Field(s.FieldRef.FieldPath)
		return value, err == nil, err
	case s.ResourceFieldRef != nil:
		value, err = f.Resource(s.ResourceFieldRef, c.Name)
		return value, err == nil, err
	case s.ConfigMapKeyRef != nil:
		ref := s.ConfigMapKeyRef
		optional := ref.Optional != nil && *ref.Optional
		o, err := source.ConfigMap(ctx, ref.Name)
		if err != nil {
			return "", false, forgive(err, optional)
		}
		if value, set = o.Data[ref.Key]; !set && !optional {
			return "", false, fmt.Errorf("couldn't find key %s in ConfigMap %s/%s", ref.Key, f.Pod.Namespace, ref.Name)
		}
		return value, set, nil
	case s.SecretKeyRef != nil:
		ref := s.SecretKeyRef
		optional := ref.Optional != nil && *ref.Optional
		o, err := source.Secret(ctx, ref.Name)
		if err != nil {
			return "", false, forgive(err, optional)
		}
		data, set := o.Data[ref.Key]
		if !set && !optional {
			return "", false, fmt.Errorf("couldn't find key %s in Secret %s/%s", ref.Key, f.Pod.Namespace, ref.Name)
		}
		return string(data), set, nil
	case s.FileKeyRef != nil:
		return fromFile(s.FileKeyRef, source)
	}
	return "", false, nil
}

func forgive(err error, optional bool) error {
	if optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Expand replaces $(NAME) by its value. An unknown name stays as written and
// $$ stands for $.
func Expand(s string, values map[string]string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "("):
			name, after, closed := strings.Cut(rest[1:], ")")
			if !closed {
				b.WriteString("$" + rest)
				return b.String()
			}
			if value, known := values[name]; known {
				b.WriteString(value)
			} else {
				b.WriteString("$(" + name + ")")
			}
			s = after
		default:
			b.WriteByte('$')
			s = rest
		}
	}
}
