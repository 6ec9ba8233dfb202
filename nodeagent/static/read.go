package static

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/internal/podrefs"
)

const (
	// SourceAnnotation says where a pod is from: "file" for the pods of this
	// package. HashAnnotation is the pod's UID on the node, other when the file
	// is; the value of kubernetes.io/config.mirror in the API is the same.
	SourceAnnotation = "kubernetes.io/config.source"
	HashAnnotation   = "kubernetes.io/config.hash"
	// FileAnnotation is the file's name.
	FileAnnotation = "headway.sh/config.file"

	source = "file"
	// maxFile is more than any pod that the API would take.
	maxFile = 3 << 20
)

// Is tells whether a pod is one of a file and not of the API, where a pod may
// say anything of itself but always has a resource version.
func Is(pod *corev1.Pod) bool {
	return pod.ResourceVersion == "" && pod.Annotations[SourceAnnotation] == source
}

// Set is what a directory holds at a time.
type Set struct {
	// Pods are in the order of their files' names.
	Pods []*corev1.Pod
	// Broken are the files that hold no pod that can run, and why.
	Broken map[string]error
}

// Read reads the directory. One that is not there holds nothing.
func (c *Config) Read() (Set, error) {
	set := Set{Broken: map[string]error{}}
	entries, err := os.ReadDir(c.Dir) // sorted by name
	if err != nil && !os.IsNotExist(err) {
		return set, fmt.Errorf("read the pods of %s: %w", c.Dir, err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // an editor's, or one that is being written
		}
		path := filepath.Join(c.Dir, e.Name())
		if info, err := os.Stat(path); os.IsNotExist(err) || err == nil && !info.Mode().IsRegular() {
			continue // removed meanwhile, or a directory
		}
		pod, err := c.read(path)
		if err == nil {
			name := pod.Namespace + "/" + pod.Name
			if other, taken := files[name]; taken {
				err = fmt.Errorf("pod %s is in %s too", name, other)
			} else {
				files[name] = e.Name()
			}
		}
		if err != nil {
			set.Broken[e.Name()] = err
			continue
		}
		set.Pods = append(set.Pods, pod)
	}
	return set, nil
}

// read makes the pod of one file.
func (c *Config) read(path string) (*corev1.Pod, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(text, pod); err != nil {
		return nil, fmt.Errorf("it is no pod: %w", err)
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, fmt.Errorf("it is a %s %s, not a v1 Pod", pod.APIVersion, pod.Kind)
	}
	if pod.Name == "" {
		return nil, errors.New("the pod has no name")
	}
	return pod, c.complete(pod, filepath.Base(path))
}

// complete makes the pod this node's.
func (c *Config) complete(pod *corev1.Pod, file string) error {
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != c.NodeName {
		return fmt.Errorf("the pod is for node %q", pod.Spec.NodeName)
	}
	if what := podrefs.Any(pod); what != "" {
		return fmt.Errorf("a pod of a file may not refer to objects of the API: %s", what)
	}
	pod.TypeMeta, pod.Status = metav1.TypeMeta{}, corev1.PodStatus{}
	m := &pod.ObjectMeta
	m.Name += "-" + strings.ToLower(c.NodeName)
	m.GenerateName, m.ResourceVersion, m.SelfLink, m.ManagedFields, m.OwnerReferences, m.Finalizers = "", "", "", nil, nil, nil
	m.DeletionTimestamp, m.DeletionGracePeriodSeconds, m.CreationTimestamp, m.Generation = nil, nil, metav1.Time{}, 0
	if m.Namespace == "" {
		m.Namespace = metav1.NamespaceDefault
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	delete(m.Annotations, corev1.MirrorPodAnnotationKey)
	delete(m.Annotations, HashAnnotation)
	m.Annotations[SourceAnnotation], m.Annotations[FileAnnotation] = source, file
	pod.Spec.NodeName = c.NodeName
	// No taint of the node makes it go: there is nowhere else where it could be.
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	if err := c.Prepare(pod); err != nil {
		return err
	}
	m.UID = ""
	text, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(append([]byte(c.NodeName+"\x00"+file+"\x00"), text...))
	m.UID = types.UID(hex.EncodeToString(sum[:16]))
	m.Annotations[HashAnnotation] = string(m.UID)
	return nil
}
