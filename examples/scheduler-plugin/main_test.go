package main

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headway-sh/headway/apiserver"
)

// serve runs an API server, and gives a configuration of its scheduler.
func serve(t *testing.T) *rest.Config {
	t.Helper()
	server, err := apiserver.Start(t.Context(), apiserver.Config{
		DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	cert, key, err := server.Authorities().UserCertificate("admin", []string{"system:masters"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: "https://" + server.Address().String(), QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: server.Authorities().API.PEM, CertData: cert, KeyData: key, ServerName: "kubernetes.default.svc"}}
}

func TestNeverMoreThanThereAreLicences(t *testing.T) {
	config := serve(t)
	api := kubernetes.NewForConfigOrDie(config)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	pods := api.CoreV1().Pods("default")
	_, err := api.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, label := range map[string]string{"plain": "false", "licensed": "true"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nodeLabel: label}}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
		made, err := api.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
		if err == nil { // every node begins as not ready
			made.Spec.Taints = nil
			_, err = api.CoreV1().Nodes().Update(ctx, made, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run1, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- run(run1, config, newLicences(map[string]int{"cad": 2})) }()
	for _, name := range []string{"a", "b", "c"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{licenceLabel: "cad"}},
			Spec: corev1.PodSpec{SchedulerName: "licensed", Containers: []corev1.Container{{Name: "c", Image: "i:1"}}}}
		if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var waiting, bound []corev1.Pod
	await(ctx, t, "two bound, and the third told why it is not", func() bool {
		waiting, bound = nil, nil
		list, err := pods.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		for _, p := range list.Items {
			if p.Spec.NodeName == "licensed" {
				bound = append(bound, p)
			} else if c := p.Status.Conditions; p.Spec.NodeName == "" && len(c) > 0 && strings.Contains(c[0].Message, "Licences: all licences are in use") {
				waiting = append(waiting, p)
			}
		}
		return len(bound) == 2 && len(waiting) == 1
	})
	// Another run learns from the API what the first has given.
	end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { done <- run(ctx, config, newLicences(map[string]int{"cad": 2})) }()
	if err := pods.Delete(ctx, bound[0].Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the third bound", func() bool {
		p, err := pods.Get(ctx, waiting[0].Name, metav1.GetOptions{})
		return err == nil && p.Spec.NodeName == "licensed"
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func await(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) { return ok(), nil }); err != nil {
		t.Fatal("waited in vain: " + what)
	}
}
