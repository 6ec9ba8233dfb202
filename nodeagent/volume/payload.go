package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/follow"
)

// payload is a volume whose files are written from what the API says. The
// four kinds of such volumes are all taken as projections.
type payload struct {
	sources []corev1.VolumeProjection
	mode    *int32
	// secret volumes are never on a disk.
	secret bool
}

func payloadOf(v *corev1.Volume) (payload, bool) {
	one := func(p corev1.VolumeProjection, mode *int32, secret bool) (payload, bool) {
		return payload{[]corev1.VolumeProjection{p}, mode, secret}, true
	}
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return one(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: s.LocalObjectReference, Items: s.Items, Optional: s.Optional}}, s.DefaultMode, false)
	case v.Secret != nil:
		s := v.Secret
		return one(corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.SecretName}, Items: s.Items, Optional: s.Optional}}, s.DefaultMode, true)
	case v.DownwardAPI != nil:
		return one(corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: v.DownwardAPI.Items}}, v.DownwardAPI.DefaultMode, false)
	case v.Projected != nil:
		p := payload{sources: v.Projected.Sources, mode: v.Projected.DefaultMode}
		for i := range p.sources {
			p.secret = p.secret || p.sources[i].Secret != nil || p.sources[i].ServiceAccountToken != nil
		}
		return p, true
	}
	return payload{}, false
}

// file is one file to be written.
type file struct {
	content []byte
	mode    os.FileMode
}

// write brings a volume's files up to date.
func (v *Volumes) write(ctx context.Context, pod *corev1.Pod, name string, p payload, facts env.Facts) error {
	files := map[string]file{}
	for i := range p.sources {
		some, err := v.project(ctx, pod, name, &p.sources[i], p.fileMode(nil), facts)
		if err != nil {
			return err
		}
		maps.Copy(files, some)
	}
	for path := range files {
		if err := local(path); err != nil {
			return err
		}
	}
	dir := v.path(pod.UID, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if p.secret {
		if _, err := tmpfs(dir, "mode=0755"); err != nil {
			return err
		}
	}
	return replace(dir, files, fsGroup(pod), v.Clock.Now())
}

func (p payload) fileMode(mode *int32) os.FileMode {
	switch {
	case mode != nil:
		return os.FileMode(*mode)
	case p.mode != nil:
		return os.FileMode(*p.mode)
	}
	return 0o644
}

func (v *Volumes) project(ctx context.Context, pod *corev1.Pod, volume string, s *corev1.VolumeProjection, mode os.FileMode, facts env.Facts) (map[string]file, error) {
	switch {
	case s.ConfigMap != nil:
		data, err := v.configMap(ctx, pod, s.ConfigMap.Name, s.ConfigMap.Optional)
		if err != nil {
			return nil, err
		}
		return pick(data, s.ConfigMap.Items, s.ConfigMap.Optional, mode, "configmap "+s.ConfigMap.Name)
	case s.Secret != nil:
		data, err := v.secret(ctx, pod, s.Secret.Name, s.Secret.Optional)
		if err != nil {
			return nil, err
		}
		return pick(data, s.Secret.Items, s.Secret.Optional, mode, "secret "+s.Secret.Name)
	case s.DownwardAPI != nil:
		return downward(s.DownwardAPI.Items, mode, facts)
	case s.ServiceAccountToken != nil:
		content, err := v.token(ctx, pod, volume, s.ServiceAccountToken)
		if err != nil {
			return nil, err
		}
		return map[string]file{s.ServiceAccountToken.Path: {[]byte(content), mode}}, nil
	}
	// Their kinds, ClusterTrustBundle and PodCertificateRequest, are not served.
	switch {
	case s.ClusterTrustBundle != nil:
		return nil, errors.New("clusterTrustBundle projections are not supported: this cluster serves no ClusterTrustBundles")
	case s.PodCertificate != nil:
		return nil, errors.New("podCertificate projections are not supported: this cluster serves no PodCertificateRequests")
	}
	return nil, errors.New("this kind of projection is not supported")
}

func (v *Volumes) configMap(ctx context.Context, pod *corev1.Pod, name string, optional *bool) (map[string][]byte, error) {
	o, err := v.Objects.Get(ctx, ref(follow.ConfigMap, pod, name), pod.UID)
	if err != nil {
		return nil, forgive(err, optional)
	}
	cm := o.(*corev1.ConfigMap) //nolint:forcetypeassert // what the kind says
	data := map[string][]byte{}
	for k, s := range cm.Data {
		data[k] = []byte(s)
	}
	maps.Copy(data, cm.BinaryData)
	return data, nil
}

func (v *Volumes) secret(ctx context.Context, pod *corev1.Pod, name string, optional *bool) (map[string][]byte, error) {
	o, err := v.Objects.Get(ctx, ref(follow.Secret, pod, name), pod.UID)
	if err != nil {
		return nil, forgive(err, optional)
	}
	return o.(*corev1.Secret).Data, nil //nolint:forcetypeassert // what the kind says
}

func ref(kind follow.Kind, pod *corev1.Pod, name string) follow.Ref {
	return follow.Ref{Kind: kind, NamespacedName: types.NamespacedName{Namespace: pod.Namespace, Name: name}}
}

func forgive(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// pick takes all keys, or those that items name.
func pick(data map[string][]byte, items []corev1.KeyToPath, optional *bool, mode os.FileMode, from string) (map[string]file, error) {
	files := map[string]file{}
	if items == nil {
		for k, content := range data {
			files[k] = file{content, mode}
		}
		return files, nil
	}
	for _, item := range items {
		content, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return nil, fmt.Errorf("references non-existent key %q of %s", item.Key, from)
		}
		files[item.Path] = file{content, itemMode(item.Mode, mode)}
	}
	return files, nil
}

func downward(items []corev1.DownwardAPIVolumeFile, mode os.FileMode, facts env.Facts) (map[string]file, error) {
	files := map[string]file{}
	for i := range items {
		item := &items[i]
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = facts.Field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = facts.Resource(item.ResourceFieldRef, "")
		}
		if err != nil {
			return nil, err
		}
		files[item.Path] = file{[]byte(value), itemMode(item.Mode, mode)}
	}
	return files, nil
}

func itemMode(mode *int32, otherwise os.FileMode) os.FileMode {
	if mode != nil {
		return os.FileMode(*mode)
	}
	return otherwise
}

// local refuses paths that lead out of the volume or into its workings.
func local(path string) error {
	if path == "" || !filepath.IsLocal(path) || strings.HasPrefix(path, "..") || filepath.Clean(path) != path {
		return fmt.Errorf("path %q is not allowed in a volume", path)
	}
	return nil
}
