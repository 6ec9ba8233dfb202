package containerd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// maxUserFile bounds what is read of an image's /etc/passwd and /etc/group:
// they are data of whoever made the image.
const maxUserFile = 1 << 20

// userFiles are an image's /etc/passwd and /etc/group.
type userFiles struct{ passwd, group []byte }

// readUserFiles reads them from the layers, uppermost first.
func readUserFiles(layers []string) userFiles {
	return userFiles{passwd: readFromLayers(layers, "etc/passwd"), group: readFromLayers(layers, "etc/group")}
}

// readFromLayers reads a regular file from the first layer that has it. Links
// are followed inside the layer only; anything else counts as empty.
func readFromLayers(layers []string, name string) []byte {
	for _, layer := range layers {
		content, found := readFromLayer(layer, name)
		if found {
			return content
		}
	}
	return nil
}

func readFromLayer(layer, name string) (content []byte, found bool) {
	root, err := os.OpenRoot(layer)
	if err != nil {
		return nil, false
	}
	defer func() { _ = root.Close() }() // only read from
	info, err := root.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false
	}
	if err != nil || !info.Mode().IsRegular() {
		return nil, true // a whiteout, a device, a link that leads outside
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, true
	}
	defer func() { _ = file.Close() }() // only read from
	content, err = io.ReadAll(io.LimitReader(file, maxUserFile))
	if err != nil {
		return nil, true
	}
	return content, true
}

// entries are the colon-separated lines of a user file.
func entries(file []byte, fields int) [][]string {
	var list [][]string
	for lines := bufio.NewScanner(bytes.NewReader(file)); lines.Scan(); {
		if parts := strings.Split(lines.Text(), ":"); len(parts) >= fields {
			list = append(list, parts)
		}
	}
	return list
}

// resolveUser finds who the process runs as: RunAsUser, else RunAsUserName,
// else the image's USER ("name", "1000", "name:group"), with the groups that
// the image's files give that user.
func resolveUser(c runtime.ContainerConfig, imageUser string, files userFiles) (specs.User, error) {
	name, group, _ := strings.Cut(imageUser, ":")
	if c.RunAsUserName != "" {
		name, group = c.RunAsUserName, ""
	}
	if c.RunAsUser != nil {
		name, group = strconv.FormatInt(*c.RunAsUser, 10), ""
	}
	if name == "" {
		name = "0"
	}
	user, login, err := lookUser(name, files)
	if err != nil {
		return specs.User{}, err
	}
	if group != "" {
		if user.GID, err = lookGroup(group, files); err != nil {
			return specs.User{}, err
		}
	}
	if c.RunAsGroup != nil {
		user.GID = uint32(*c.RunAsGroup)
	}
	user.AdditionalGids = []uint32{user.GID}
	for _, g := range entries(files.group, 4) {
		if c.StrictGroups {
			break
		}
		if gid, ok := number(g[2]); ok && login != "" && slices.Contains(strings.Split(g[3], ","), login) {
			user.AdditionalGids = append(user.AdditionalGids, gid)
		}
	}
	for _, gid := range c.SupplementalGroups {
		user.AdditionalGids = append(user.AdditionalGids, uint32(gid))
	}
	slices.Sort(user.AdditionalGids)
	user.AdditionalGids = slices.Compact(user.AdditionalGids)
	return user, nil
}

func lookUser(name string, files userFiles) (user specs.User, login string, err error) {
	uid, numeric := number(name)
	for _, p := range entries(files.passwd, 4) {
		have, ok := number(p[2])
		gid, okGroup := number(p[3])
		if ok && okGroup && (numeric && have == uid || !numeric && p[0] == name) {
			return specs.User{UID: have, GID: gid}, p[0], nil
		}
	}
	if !numeric {
		return specs.User{}, "", fmt.Errorf("user %q is not in the image's /etc/passwd", name)
	}
	return specs.User{UID: uid}, "", nil
}

func lookGroup(name string, files userFiles) (uint32, error) {
	if gid, numeric := number(name); numeric {
		return gid, nil
	}
	for _, g := range entries(files.group, 3) {
		if gid, ok := number(g[2]); ok && g[0] == name {
			return gid, nil
		}
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group", name)
}

func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return uint32(n), err == nil
}

func userOf(u specs.User) *runtime.User {
	user := &runtime.User{UID: int64(u.UID), GID: int64(u.GID)}
	for _, gid := range u.AdditionalGids {
		user.Groups = append(user.Groups, int64(gid))
	}
	return user
}
