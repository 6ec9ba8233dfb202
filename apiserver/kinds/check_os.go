package kinds

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// presence is a field and whether it is set.
type presence struct {
	name string
	set  bool
}

func (c *checker) absent(p *path, why string, fields ...presence) {
	for _, f := range fields {
		if f.set {
			c.forbidden(p.Child(f.name), why)
		}
	}
}

// os refuses what a pod's operating system does not have, and checks what only
// Windows has.
func (c *checker) os(p *path, s *corev1.PodSpec) {
	if s.OS == nil && !asksForWindows(s) {
		return
	}
	if s.OS != nil {
		switch s.OS.Name {
		case "":
			c.required(p.Child("os", "name"), "")
		case corev1.Linux:
			c.linuxPod(p, s)
		case corev1.Windows:
			c.windowsPod(p, s)
		default:
			c.add(field.NotSupported(p.Child("os"), s.OS.Name, []corev1.OSName{corev1.Linux, corev1.Windows}))
		}
	}
	var ofPod *corev1.WindowsSecurityContextOptions
	if sc := s.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		ofPod = sc.WindowsOptions
		c.windowsOptions(p.Child("securityContext", "windowsOptions"), ofPod)
	}
	all, host := 0, 0
	eachSecurity(p, s, func(at *path, sc *corev1.SecurityContext) {
		all++
		its := corev1.WindowsSecurityContextOptions{}
		if sc != nil && sc.WindowsOptions != nil {
			its = *sc.WindowsOptions
			c.windowsOptions(at.Child("windowsOptions"), &its)
		}
		if ofPod != nil && ofPod.HostProcess != nil && its.HostProcess != nil && *ofPod.HostProcess != *its.HostProcess {
			c.invalid(at.Child("windowsOptions", "hostProcess"), *its.HostProcess, fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *ofPod.HostProcess))
		}
		if deref(its.HostProcess, ofPod != nil && deref(ofPod.HostProcess, false)) {
			host++
		}
	})
	if host > 0 && host != all {
		c.invalid(p, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if host > 0 && !s.HostNetwork {
		c.invalid(p.Child("hostNetwork"), s.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

// asksForWindows tells whether anything of a pod is for Windows, without
// making a path: most pods have nothing.
func asksForWindows(s *corev1.PodSpec) bool {
	if s.SecurityContext != nil && s.SecurityContext.WindowsOptions != nil {
		return true
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && sc.WindowsOptions != nil {
				return true
			}
		}
	}
	for i := range s.EphemeralContainers {
		if sc := s.EphemeralContainers[i].SecurityContext; sc != nil && sc.WindowsOptions != nil {
			return true
		}
	}
	return false
}

// eachSecurity visits the security contexts of all containers, nil ones too.
func eachSecurity(p *path, s *corev1.PodSpec, visit func(at *path, sc *corev1.SecurityContext)) {
	for i := range s.InitContainers {
		visit(p.Child("initContainers").Index(i).Child("securityContext"), s.InitContainers[i].SecurityContext)
	}
	for i := range s.Containers {
		visit(p.Child("containers").Index(i).Child("securityContext"), s.Containers[i].SecurityContext)
	}
	for i := range s.EphemeralContainers {
		visit(p.Child("ephemeralContainers").Index(i).Child("securityContext"), s.EphemeralContainers[i].SecurityContext)
	}
}

func (c *checker) linuxPod(p *path, s *corev1.PodSpec) {
	const why = "windows options cannot be set for a linux pod"
	if sc := s.SecurityContext; sc != nil {
		c.absent(p.Child("securityContext"), why, presence{"windowsOptions", sc.WindowsOptions != nil})
	}
	eachSecurity(p, s, func(at *path, sc *corev1.SecurityContext) {
		if sc != nil {
			c.absent(at, why, presence{"windowsOptions", sc.WindowsOptions != nil})
		}
	})
}

func (c *checker) windowsPod(p *path, s *corev1.PodSpec) {
	const why = "cannot be set for a windows pod"
	c.absent(p, why, presence{"hostUsers", s.HostUsers != nil}, presence{"hostPID", s.HostPID}, presence{"hostIPC", s.HostIPC},
		presence{"shareProcessNamespace", s.ShareProcessNamespace != nil})
	if sc := s.SecurityContext; sc != nil {
		c.absent(p.Child("securityContext"), why,
			presence{"appArmorProfile", sc.AppArmorProfile != nil}, presence{"seLinuxOptions", sc.SELinuxOptions != nil},
			presence{"seccompProfile", sc.SeccompProfile != nil}, presence{"fsGroup", sc.FSGroup != nil},
			presence{"fsGroupChangePolicy", sc.FSGroupChangePolicy != nil}, presence{"sysctls", len(sc.Sysctls) > 0},
			presence{"runAsUser", sc.RunAsUser != nil}, presence{"runAsGroup", sc.RunAsGroup != nil},
			presence{"supplementalGroups", sc.SupplementalGroups != nil}, presence{"supplementalGroupsPolicy", sc.SupplementalGroupsPolicy != nil},
			presence{"seLinuxChangePolicy", sc.SELinuxChangePolicy != nil})
	}
	eachSecurity(p, s, func(at *path, sc *corev1.SecurityContext) {
		if sc == nil {
			return
		}
		c.absent(at, why,
			presence{"appArmorProfile", sc.AppArmorProfile != nil}, presence{"seLinuxOptions", sc.SELinuxOptions != nil},
			presence{"seccompProfile", sc.SeccompProfile != nil}, presence{"capabilities", sc.Capabilities != nil},
			presence{"readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil}, presence{"privileged", sc.Privileged != nil},
			presence{"allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil}, presence{"procMount", sc.ProcMount != nil},
			presence{"runAsUser", sc.RunAsUser != nil}, presence{"runAsGroup", sc.RunAsGroup != nil})
	})
}

// Names of Windows accounts: an optional domain, in one of two forms, and a user.
var (
	control       = regexp.MustCompile(`[[:cntrl:]]`)
	netBIOSDomain = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	dnsDomain     = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*$`)
	dotsAndSpaces = regexp.MustCompile(`^[. ]+$`)
	noUserName    = regexp.MustCompile(`["/\\:;|=,+*?<>@\[\]]`)
)

const (
	maxCredentialSpec = 64 << 10
	maxAccountDomain  = 256
	maxAccountUser    = 104
)

func (c *checker) windowsOptions(p *path, o *corev1.WindowsSecurityContextOptions) {
	if name := o.GMSACredentialSpecName; name != nil {
		c.messages(p, "gmsaCredentialSpecName", *name, validation.IsDNS1123Subdomain(*name))
	}
	if spec := o.GMSACredentialSpec; spec != nil && *spec == "" {
		c.invalid(p.Child("gmsaCredentialSpec"), *spec, "gmsaCredentialSpec cannot be an empty string")
	} else if spec != nil && len(*spec) > maxCredentialSpec {
		c.invalid(p.Child("gmsaCredentialSpec"), *spec, "gmsaCredentialSpec size must be under 64 KiB")
	}
	if name := o.RunAsUserName; name != nil {
		for _, problem := range accountProblems(*name) {
			c.invalid(p.Child("runAsUserName"), *name, problem)
		}
	}
}

// accountProblems says what is wrong with DOMAIN\user.
func accountProblems(name string) []string {
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		domain, user = "", name
	}
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case control.MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case strings.Contains(user, `\`):
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	var problems []string
	for _, rule := range []struct {
		broken bool
		text   string
	}{
		{len(domain) >= maxAccountDomain, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", maxAccountDomain)},
		{qualified && !netBIOSDomain.MatchString(domain) && !dnsDomain.MatchString(domain), "runAsUserName's Domain doesn't match the NetBios nor the DNS format"},
		{user == "", "runAsUserName's User cannot be empty"},
		{len(user) > maxAccountUser, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", maxAccountUser)},
		{dotsAndSpaces.MatchString(user), "runAsUserName's User cannot contain only periods or spaces"},
		{noUserName.MatchString(user), `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`},
	} {
		if rule.broken {
			problems = append(problems, rule.text)
		}
	}
	return problems
}
