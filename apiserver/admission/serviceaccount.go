package admission

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

const (
	// defaultServiceAccount is a pod's account when it names none.
	defaultServiceAccount = "default"
	// tokenPath is where containers find the account's token.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenVolume begins the name of the volume with the token.
	tokenVolume = "kube-api-access-"
	// tokenSeconds is how long a mounted token is valid; the odd seconds mark
	// tokens that old clients may use for longer.
	tokenSeconds = 3607
	// rootCAConfigMap holds the API's certificate authority in each namespace.
	rootCAConfigMap = "kube-root-ca.crt"
)

// serviceAccount gives pods an account and the token's volume.
func serviceAccount() write.Step {
	return write.Step{Name: "ServiceAccount", Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
		if !creates(r, podsResource) {
			return nil
		}
		pod := r.Object.(*corev1.Pod)
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			if pod.Spec.ServiceAccountName != "" {
				return forbidden(r, "a mirror pod may not reference service accounts")
			}
			return nil
		}
		if pod.Spec.ServiceAccountName == "" {
			pod.Spec.ServiceAccountName = defaultServiceAccount
		}
		pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
		ref := txn.Ref{Resource: corev1.Resource("serviceaccounts"), Namespace: r.Ref.Namespace, Name: pod.Spec.ServiceAccountName}
		o, ok := view.Get(ref)
		if !ok {
			return forbidden(r, "error looking up service account %s/%s: serviceaccount %q not found", ref.Namespace, ref.Name, ref.Name)
		}
		r.Decide(ref)
		account := o.(*corev1.ServiceAccount)
		if len(pod.Spec.ImagePullSecrets) == 0 {
			pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
		}
		if automount(pod, account) {
			mountToken(pod)
		}
		return nil
	}}
}

func automount(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	if own := pod.Spec.AutomountServiceAccountToken; own != nil {
		return *own
	}
	return ptr.Deref(account.AutomountServiceAccountToken, true)
}

// mountToken mounts the token into every container that has nothing there, and
// adds the volume when one needs it and there is none yet: the pod may be here
// again because somebody has added a container to it.
func mountToken(pod *corev1.Pod) {
	name, needed := tokenVolume+suffix(pod), false
	there := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, tokenVolume) })
	if there >= 0 {
		name = pod.Spec.Volumes[there].Name
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenPath})
			needed = true
		}
	}
	if needed && there < 0 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenProjection()}})
	}
}

func tokenProjection() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](tokenSeconds)}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}
}

// suffix is five letters that follow from the pod, so that planning it twice
// gives the same pod.
func suffix(pod *corev1.Pod) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%s", pod.UID, pod.Namespace, pod.Name)
	return rand.SafeEncodeString(fmt.Sprintf("%05d", h.Sum64()%100000))
}
