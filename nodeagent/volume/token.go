package volume

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	defaultLifetime = time.Hour
	// maxAge is when a token is replaced however long it lives.
	maxAge = 24 * time.Hour
)

// token is a service account token that a pod has.
type token struct {
	value string
	// renew is when a new one is to be asked for, expires when it ends.
	renew, expires time.Time
}

// token gives the pod's token for a projection, a new one when it has used up
// four fifths of its life. While the API is away the old one is kept.
func (v *Volumes) token(ctx context.Context, pod *corev1.Pod, volume string, s *corev1.ServiceAccountTokenProjection) (string, error) {
	key := volume + "/" + s.Path
	now := v.Clock.Now()
	v.mu.Lock()
	have := v.tokens[pod.UID][key]
	v.mu.Unlock()
	if have.value != "" && now.Before(have.renew) {
		return have.value, nil
	}
	fresh, err := v.request(ctx, pod, s, now)
	if err != nil {
		if have.value != "" && now.Before(have.expires) {
			v.Logger.Warn("service account token not renewed", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			fresh = have
			fresh.renew = now.Add(time.Minute)
		} else {
			return "", err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tokens[pod.UID] == nil {
		v.tokens[pod.UID] = map[string]token{}
	}
	v.tokens[pod.UID][key] = fresh
	return fresh.value, nil
}

func (v *Volumes) request(ctx context.Context, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection, now time.Time) (token, error) {
	name := pod.Spec.ServiceAccountName
	if name == "" {
		name = "default"
	}
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = pod.Namespace, name
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(int64(defaultLifetime / time.Second)),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if s.ExpirationSeconds != nil {
		r.Spec.ExpirationSeconds = s.ExpirationSeconds
	}
	if s.Audience != "" {
		r.Spec.Audiences = []string{s.Audience}
	}
	if err := v.Client.SubResource("token").Create(ctx, account, r); err != nil {
		return token{}, fmt.Errorf("request token of service account %q: %w", name, err)
	}
	expires := r.Status.ExpirationTimestamp.Time
	life := min(expires.Sub(now)*4/5, maxAge)
	return token{value: r.Status.Token, expires: expires, renew: now.Add(life)}, nil
}
