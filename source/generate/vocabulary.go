package generate

// department is what the shop's categories are called and what they sell.
// Neighbours in the list complement each other: the first and the second, the
// third and the fourth, and so on.
type department struct {
	name   string
	nouns  [8]string
	styles [8]string
	cents  [8]int // a typical price of each noun
}

var departments = [16]department{
	{"Running", [8]string{"Running Shoe", "Running Shorts", "Running Jacket", "Running Socks", "Running Cap", "Running Belt", "Sports Watch", "Head Torch"},
		[8]string{"Trail", "Road", "Light", "Winter", "Race", "Daily", "Long-Distance", "Reflective"},
		[8]int{12990, 3990, 8990, 1290, 2490, 2990, 24990, 4990}},
	{"Sports Nutrition", [8]string{"Energy Gel", "Protein Bar", "Drink Mix", "Bottle", "Recovery Shake", "Electrolyte Tablets", "Oat Snack", "Hydration Vest"},
		[8]string{"Citrus", "Cocoa", "Berry", "Salted", "Vegan", "Caffeine", "Neutral", "Mango"},
		[8]int{220, 290, 2490, 1490, 2990, 890, 350, 8990}},
	{"Hiking", [8]string{"Hiking Boot", "Backpack", "Rain Jacket", "Trekking Poles", "Hiking Trousers", "Map Case", "Gaiters", "Fleece"},
		[8]string{"Alpine", "Forest", "Ultralight", "Weekend", "Waterproof", "Ridge", "Coastal", "Four-Season"},
		[8]int{18990, 14990, 19990, 8990, 9990, 1990, 3990, 7990}},
	{"Camping", [8]string{"Tent", "Sleeping Bag", "Stove", "Sleeping Mat", "Lantern", "Cook Set", "Folding Chair", "Water Filter"},
		[8]string{"Two-Person", "Down", "Compact", "Family", "Expedition", "Basecamp", "Titanium", "Summer"},
		[8]int{34990, 22990, 6990, 9990, 3990, 5990, 7990, 4490}},
	{"Coffee", [8]string{"Coffee Beans", "Coffee Grinder", "Espresso Machine", "Pour-Over Kettle", "Coffee Filters", "Moka Pot", "Milk Frother", "Coffee Scale"},
		[8]string{"Dark Roast", "Single-Origin", "Barista", "Ethiopian", "Morning", "Decaf", "Classic", "Steel"},
		[8]int{1490, 12990, 49990, 7990, 590, 3990, 5990, 3490}},
	{"Kitchen", [8]string{"Chef's Knife", "Frying Pan", "Mug", "Cutting Board", "Mixing Bowl", "Saucepan", "Baking Tray", "Storage Jar"},
		[8]string{"Cast-Iron", "Ceramic", "Oak", "Copper", "Everyday", "Non-Stick", "Large", "Stackable"},
		[8]int{8990, 6990, 1290, 3490, 1990, 5990, 1890, 890}},
	{"Audio", [8]string{"Headphones", "Loudspeaker", "Turntable", "Amplifier", "Earbuds", "Sound Bar", "Microphone", "Audio Cable"},
		[8]string{"Wireless", "Studio", "Noise-Cancelling", "Bookshelf", "Portable", "Hi-Fi", "Compact", "Retro"},
		[8]int{19990, 29990, 34990, 44990, 12990, 24990, 9990, 1990}},
	{"Music", [8]string{"Vinyl Record", "Songbook", "Guitar Strings", "Ukulele", "Metronome", "Record Brush", "Music Stand", "Drum Pad"},
		[8]string{"Jazz", "Blues", "Folk", "Baroque", "Indie", "Soul", "Electronic", "Live"},
		[8]int{2990, 1990, 1290, 8990, 2490, 1690, 3990, 7990}},
	{"Photography", [8]string{"Camera", "Lens", "Tripod", "Camera Bag", "Memory Card", "Filter Set", "Flash", "Camera Strap"},
		[8]string{"Mirrorless", "Wide-Angle", "Travel", "Macro", "Carbon", "Street", "Portrait", "Instant"},
		[8]int{89990, 59990, 14990, 8990, 3990, 4990, 19990, 2990}},
	{"Travel", [8]string{"Suitcase", "Travel Adapter", "Neck Pillow", "Packing Cubes", "Travel Guide", "Passport Wallet", "Duffel Bag", "Power Bank"},
		[8]string{"Cabin", "Foldable", "Hard-Shell", "Business", "Island", "City", "Rugged", "Slim"},
		[8]int{15990, 1990, 2490, 1990, 1890, 2990, 8990, 3990}},
	{"Gaming", [8]string{"Game Controller", "Strategy Game", "Racing Game", "Gaming Headset", "Role-Playing Game", "Puzzle Game", "Charging Dock", "Arcade Stick"},
		[8]string{"Pro", "Legendary", "Co-op", "Pixel", "Deluxe", "Night", "Space", "Classic"},
		[8]int{6990, 4990, 5990, 8990, 5990, 2990, 3490, 12990}},
	{"Computers", [8]string{"Keyboard", "Mouse", "Monitor", "Laptop Stand", "Webcam", "USB Hub", "Solid-State Drive", "Desk Mat"},
		[8]string{"Mechanical", "Silent", "Ergonomic", "Curved", "Aluminium", "Ultra-Wide", "Backlit", "Compact"},
		[8]int{12990, 5990, 29990, 4990, 7990, 3490, 9990, 1990}},
	{"Garden", [8]string{"Seed Packet", "Pruning Shears", "Watering Can", "Planter", "Garden Gloves", "Compost Bin", "Garden Hose", "Bird Feeder"},
		[8]string{"Heirloom", "Balcony", "Cottage", "Terracotta", "Evergreen", "Wild-Flower", "Herb", "Galvanised"},
		[8]int{390, 3490, 2490, 2990, 1290, 7990, 3990, 1990}},
	{"Pets", [8]string{"Dog Lead", "Cat Tree", "Pet Bed", "Chew Toy", "Food Bowl", "Grooming Brush", "Dog Coat", "Treat Bag"},
		[8]string{"Puppy", "Senior", "Cosy", "Tough", "Outdoor", "Plush", "Salmon", "Large-Breed"},
		[8]int{1990, 8990, 4990, 990, 1290, 1490, 3990, 790}},
	{"Books", [8]string{"Novel", "Cookbook", "Biography", "Atlas", "Short-Story Collection", "Poetry Book", "Crime Novel", "Science Book"},
		[8]string{"Nordic", "Illustrated", "Pocket", "Award-Winning", "Historical", "Modern", "Coastal", "Annotated"},
		[8]int{1490, 2990, 2290, 3990, 1690, 1390, 1290, 2490}},
	{"Stationery", [8]string{"Notebook", "Fountain Pen", "Ink Bottle", "Desk Lamp", "Bookmark", "Pencil Set", "Calendar", "Reading Light"},
		[8]string{"Dotted", "Leather", "Midnight", "Linen", "Minimal", "Recycled", "Brass", "Vintage"},
		[8]int{1490, 4990, 1290, 5990, 490, 1690, 1890, 2490}},
}
