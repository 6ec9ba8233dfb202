// Package clients_test uses the server as programs do: through the informers of
// client-go, its dynamic and metadata clients, a controller-runtime manager and
// Helm.
package clients_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/test/e2e/testserver"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func TestClients(t *testing.T) {
	t.Parallel()
	kubeconfig := testserver.Start(t, testserver.Binary(t))
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	t.Run("informers outlive lost connections", func(t *testing.T) {
		t.Parallel()
		testInformers(t, config)
	})
	t.Run("dynamic client", func(t *testing.T) {
		t.Parallel()
		testDynamic(t, config)
	})
	t.Run("helm", func(t *testing.T) {
		t.Parallel()
		testHelm(t, config, kubeconfig)
	})
	t.Run("manager", func(t *testing.T) {
		t.Parallel()
		testManager(t, config)
	})
	t.Run("operator of a kind of its own", func(t *testing.T) {
		t.Parallel()
		testOperator(t, config)
	})
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func namespace(t *testing.T, c kubernetes.Interface, name string) {
	t.Helper()
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// testInformers cuts the informers' connections again and again while objects
// come, change and go, and expects them to end up with what there is. Handlers
// must have seen no update before an add, and no state older than the last.
func testInformers(t *testing.T, config *rest.Config) {
	direct := clientset(t, config)
	namespace(t, direct, "informers")
	through, cut := proxied(t, config)
	factory := informers.NewSharedInformerFactoryWithOptions(clientset(t, through), 0, informers.WithNamespace("informers"))
	informer, lister := factory.Core().V1().ConfigMaps().Informer(), factory.Core().V1().ConfigMaps().Lister()
	seen := &history{last: map[string]int64{}}
	if _, err := informer.AddEventHandler(seen); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel)
	factory.Start(ctx.Done())

	api := direct.CoreV1().ConfigMaps("informers")
	for i := range 120 {
		name := fmt.Sprintf("c%d", i%30)
		data := map[string]string{"i": fmt.Sprint(i)}
		_, err := api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{})
		switch {
		case err == nil:
		case !apierrors.IsAlreadyExists(err):
			t.Fatal(err)
		case i%4 == 0:
			if err := api.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		default:
			if _, err := api.Update(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if i%15 == 14 {
			cut()
		}
	}
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, o := range list.Items {
		want[o.Name] = o.ResourceVersion
	}
	got := map[string]string{}
	testserver.Await(t, "the informer has what there is", func() bool {
		clear(got)
		all, err := lister.List(labels.Everything())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			got[o.Name] = o.ResourceVersion
		}
		return maps.Equal(want, got)
	})
	if problem := seen.problem(); problem != "" {
		t.Error(problem)
	}
}

// proxied returns a configuration whose connections go through a relay, and
// what cuts them all.
func proxied(t *testing.T, config *rest.Config) (through *rest.Config, cut func()) {
	t.Helper()
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards open
	open := map[net.Conn]bool{}
	cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.Close()
		}
		clear(open)
	}
	var relays sync.WaitGroup
	relay := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		io.Copy(to, from) // ends with either side
	}
	relays.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server.Host)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			open[in], open[out] = true, true
			mu.Unlock()
			relays.Go(func() { relay(in, out) })
			relays.Go(func() { relay(out, in) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		cut()
		relays.Wait()
	})
	through = rest.CopyConfig(config)
	through.Host = "https://" + listener.Addr().String()
	return through, cut
}

// history checks what handlers are told.
type history struct {
	mu   sync.Mutex // guards what follows
	last map[string]int64
	bad  string
}

func (h *history) note(o any, change bool) {
	m := o.(*corev1.ConfigMap)
	var revision int64
	if _, err := fmt.Sscan(m.ResourceVersion, &revision); err != nil {
		panic(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	last, known := h.last[m.Name]
	if change && !known {
		h.bad = fmt.Sprintf("%s was updated before it was added", m.Name)
	}
	if revision < last {
		h.bad = fmt.Sprintf("%s went back from %d to %d", m.Name, last, revision)
	}
	h.last[m.Name] = revision
}

func (h *history) problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bad
}

func (h *history) OnAdd(o any, _ bool) { h.note(o, false) }
func (h *history) OnUpdate(_, o any)   { h.note(o, true) }
func (h *history) OnDelete(any)        {}

// testDynamic applies one object as two managers and reads it in all forms.
func testDynamic(t *testing.T, config *rest.Config) {
	namespace(t, clientset(t, config), "dynamic")
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	api := c.Resource(configMaps).Namespace("dynamic")
	object := func(data map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "shared"}, "data": data}}
	}
	apply := func(manager string, force bool, data map[string]any) (*unstructured.Unstructured, error) {
		return api.Apply(t.Context(), "shared", object(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	if _, err := apply("one", false, map[string]any{"a": "1", "b": "1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply("two", false, map[string]any{"b": "1", "c": "2"}); err != nil {
		t.Fatalf("two managers may agree: %v", err)
	}
	_, err = apply("two", false, map[string]any{"b": "2", "c": "2"})
	status, ok := err.(apierrors.APIStatus)
	if !apierrors.IsConflict(err) || !ok || len(status.Status().Details.Causes) != 1 ||
		status.Status().Details.Causes[0].Type != metav1.CauseTypeFieldManagerConflict || status.Status().Details.Causes[0].Field != ".data.b" {
		t.Fatalf("conflict tells %+v", err)
	}
	if _, err := apply("two", true, map[string]any{"b": "2", "c": "2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply("one", false, map[string]any{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	o, err := apply("two", false, map[string]any{"c": "2"})
	if err != nil {
		t.Fatal(err)
	}
	data, _, _ := unstructured.NestedStringMap(o.Object, "data")
	if diff := cmp.Diff(map[string]string{"a": "1", "c": "2"}, data); diff != "" {
		t.Errorf("what nobody applies any more goes (-want +got):\n%s", diff)
	}
	again, err := apply("two", false, map[string]any{"c": "2"})
	if err != nil || again.GetResourceVersion() != o.GetResourceVersion() {
		t.Errorf("applying the same again wrote: %v, %s after %s", err, again.GetResourceVersion(), o.GetResourceVersion())
	}

	m, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	partial, err := m.Resource(configMaps).Namespace("dynamic").Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil || partial.UID != o.GetUID() {
		t.Errorf("metadata alone: %+v, %v", partial, err)
	}
	w, err := api.Watch(t.Context(), metav1.ListOptions{ResourceVersion: o.GetResourceVersion(), FieldSelector: "metadata.name=shared"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := api.Delete(t.Context(), "shared", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if event := <-w.ResultChan(); event.Type != "DELETED" || event.Object.(*unstructured.Unstructured).GetUID() != o.GetUID() {
		t.Errorf("watch tells %+v", event)
	}
}

// testManager runs an operator: it leads, keeps a Secret for each marked
// ConfigMap, and the garbage collector takes the Secret away with it.
func testManager(t *testing.T, config *rest.Config) {
	set := clientset(t, config)
	namespace(t, set, "manager")
	m, err := ctrl.NewManager(config, ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: controllerconfig.Controller{SkipNameValidation: ptr.To(true)}, LeaderElection: true, LeaderElectionID: "operator", LeaderElectionNamespace: "manager",
	})
	if err != nil {
		t.Fatal(err)
	}
	operator := reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		var source corev1.ConfigMap
		if err := m.GetClient().Get(ctx, request.NamespacedName, &source); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		if source.Labels["mirror"] == "" || source.DeletionTimestamp != nil {
			return reconcile.Result{}, nil
		}
		mirror := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: source.Namespace, Name: source.Name}}
		_, err := controllerutil.CreateOrUpdate(ctx, m.GetClient(), mirror, func() error {
			mirror.StringData = source.Data
			return controllerutil.SetControllerReference(&source, mirror, m.GetScheme())
		})
		return reconcile.Result{}, err
	})
	if err := ctrl.NewControllerManagedBy(m).For(&corev1.ConfigMap{}).Owns(&corev1.Secret{}).Complete(operator); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	source := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "manager", Name: "a", Labels: map[string]string{"mirror": "yes"}}, Data: map[string]string{"k": "v"}}
	if source, err = set.CoreV1().ConfigMaps("manager").Create(ctx, source, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secrets := set.CoreV1().Secrets("manager")
	testserver.Await(t, "the operator mirrors the object", func() bool {
		s, err := secrets.Get(ctx, "a", metav1.GetOptions{})
		return err == nil && string(s.Data["k"]) == "v" && metav1.IsControlledBy(s, source)
	})
	if err := secrets.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testserver.Await(t, "the operator makes the mirror again", func() bool {
		_, err := secrets.Get(ctx, "a", metav1.GetOptions{})
		return err == nil
	})
	if err := set.CoreV1().ConfigMaps("manager").Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testserver.Await(t, "the mirror goes with what it mirrors", func() bool {
		_, err := secrets.Get(ctx, "a", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
